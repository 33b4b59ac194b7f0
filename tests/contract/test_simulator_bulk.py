"""Bulk import of profiles in the box: its life, its row errors, and all that can go wrong with it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from shared.clock import FrozenClock
from simulator.account import Account
from simulator.settings import SimulatorSettings
from tests.contract.simulator_box import JOBS, Caller, bulk_body, running_box
from tests.support.waiting import eventually

LONGEST_S = 121.0


def rows_for(people: list[str]) -> list[dict[str, Any]]:
    return [{"id": profile_id, "attributes": {"properties": {"n": 1}}} for profile_id in people]


def add_people(caller: Caller, account: Account, count: int) -> list[str]:
    return [caller.box.world.add_profile(account, {}) for _ in range(count)]


def taken(account: Account, people: list[str]) -> list[int]:
    """The numbers of those whose row was applied."""
    return [number for number, it in enumerate(people) if account.profiles[it].state.properties == {"n": 1}]


async def imported(caller: Caller, *rows: Mapping[str, Any]) -> str:
    """Make a job; its id."""
    reply = await caller.api("POST", JOBS, bulk_body(*rows))
    assert reply.status == 202
    job_id: str = reply.json["data"]["id"]
    return job_id


async def ended(caller: Caller, account: Account, job_id: str) -> tuple[Any, Any]:
    """Let time pass until the job has ended; its attributes, and those of its first 20 import errors."""
    clock = caller.box.world.clock
    assert isinstance(clock, FrozenClock)
    clock.advance(LONGEST_S)
    await eventually(lambda: account.jobs[job_id].ended_at is not None)
    job = await caller.api("GET", f"{JOBS}/{job_id}")
    errors = await caller.api("GET", f"{JOBS}/{job_id}/import-errors")
    return job.json["data"]["attributes"], [error["attributes"] for error in errors.json["data"]]


def counts(job: Any) -> tuple[int, int, int]:
    return job["total_count"], job["completed_count"], job["failed_count"]


# --- a job's life ----------------------------------------------------------------------------------------------------


async def test_a_job_is_queued_then_processing_then_complete(
    caller: Caller, account: Account, clock: FrozenClock
) -> None:
    profile_id = caller.box.world.add_profile(account, {"properties": {"plan": "pro"}})
    body = bulk_body(
        {"id": profile_id, "attributes": {"properties": {"jai_body": "x", "plan": None}}},
        {"attributes": {"email": "new@x.example", "properties": {"plan": None}}},
        {"id": "nobody", "attributes": {"properties": {"jai_body": "x"}}},
    )

    made = await caller.api("POST", JOBS, body)
    path = f"{JOBS}/{made.json['data']['id']}"
    statuses = [made.json["data"]["attributes"]["status"]]
    for _ in range(240):
        clock.advance(0.5)
        job = await caller.api("GET", path)
        statuses.append(job.json["data"]["attributes"]["status"])
    errors = await caller.api("GET", f"{path}/import-errors?page[size]=1")

    assert made.status == 202
    assert list(dict.fromkeys(statuses)) == ["queued", "processing", "complete"]
    assert counts(job.json["data"]["attributes"]) == (3, 2, 1)
    # Nulls change nothing, on an old profile and on a new one.
    assert account.profiles[profile_id].state.properties == {"plan": "pro", "jai_body": "x"}
    assert account.profiles[account.by_email["new@x.example"]].state.properties == {}
    (error,) = errors.json["data"]
    assert error["attributes"]["source"] == {"pointer": "/data/attributes/profiles/data/2"}
    assert error["attributes"]["original_payload"]["id"] == "nobody"


@pytest.mark.parametrize("latency_s", [1, 600])
async def test_a_job_takes_as_long_as_is_set(latency_s: float) -> None:
    clock = FrozenClock()
    settings = SimulatorSettings(bulk_job_min_s=latency_s, bulk_job_max_s=latency_s)
    async with running_box(clock, settings) as (caller, account):
        people = add_people(caller, account, 1)
        job_id = await imported(caller, *rows_for(people))

        clock.advance(latency_s - 0.01)
        early = await caller.api("GET", f"{JOBS}/{job_id}")
        clock.advance(0.01)
        await eventually(lambda: taken(account, people) == [0])

        assert early.json["data"]["attributes"]["status"] == "processing"
        assert account.profiles[people[0]].updated_at == account.jobs[job_id].due_at


async def test_jobs_are_listed_by_status_and_age_and_in_pages(
    caller: Caller, account: Account, clock: FrozenClock
) -> None:
    made = []
    for number in range(21):
        clock.advance(1)
        made.append(await imported(caller, {"attributes": {"email": f"{number}@x.example"}}))
    clock.advance(LONGEST_S)
    await eventually(lambda: all(job.ended_at for job in account.jobs.values()))
    newest = await imported(caller, {"attributes": {"email": "z@x.example"}})

    first = await caller.api("GET", f"{JOBS}?sort=-created_at&fields[profile-bulk-import-job]=status,total_count")
    rest = await caller.api("GET", first.json["links"]["next"].removeprefix(caller.box.url))
    queued = await caller.api("GET", f'{JOBS}?filter=equals(status,"queued")')
    done = await caller.api("GET", f'{JOBS}?filter=any(status,["processing","complete"])&page[size]=100')

    listed = first.json["data"] + rest.json["data"]
    assert [job["id"] for job in listed] == [newest, *reversed(made)]
    assert len(first.json["data"]) == 20
    assert listed[0]["attributes"] == {"status": "queued", "total_count": 1}
    assert [job["id"] for job in queued.json["data"]] == [newest]
    assert {job["id"] for job in done.json["data"]} == set(made)


async def test_a_job_is_gone_once_it_has_expired(caller: Caller, account: Account, clock: FrozenClock) -> None:
    job_id = await imported(caller, {"attributes": {"email": "a@x.example"}})
    expires_at = account.jobs[job_id].expires_at

    clock.advance((expires_at - clock.now()).total_seconds() - 1)
    last = await caller.api("GET", f"{JOBS}/{job_id}")
    clock.advance(1)

    assert last.status == 200
    for path in (f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/import-errors"):
        assert (await caller.api("GET", path)).status == 404
    assert (await caller.api("GET", JOBS)).json["data"] == []


# --- row errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "detail"),
    [
        ({"frist_name": "Ann"}, "'frist_name' is not a valid field for the resource 'profile'."),
        ({"email": "no address"}, "Invalid email address."),
    ],
)
async def test_an_unsound_row_fails_alone(
    caller: Caller, account: Account, attributes: dict[str, Any], detail: str
) -> None:
    first, second = add_people(caller, account, 2)

    job_id = await imported(caller, {"id": first, "attributes": attributes}, *rows_for([second]))
    job, errors = await ended(caller, account, job_id)

    assert (job["status"], counts(job)) == ("complete", (2, 1, 1))
    assert [error["detail"] for error in errors] == [detail]
    assert taken(account, [first, second]) == [1]


@pytest.mark.parametrize(
    ("row", "at"),
    [
        ({"attributes": {"properties": [1]}}, "/attributes/properties"),
        ({"attributes": {"email": 7}}, "/attributes/email"),
        ({"id": 7, "attributes": {}}, "/id"),
        ({"attributes": []}, ""),
    ],
)
async def test_a_row_of_the_wrong_shape_fails_the_whole_request(caller: Caller, row: dict[str, Any], at: str) -> None:
    refused = await caller.api("POST", JOBS, bulk_body({"attributes": {"email": "a@x.example"}}, row))

    assert (refused.status, refused.error["source"]) == (400, {"pointer": f"/data/attributes/profiles/data/1{at}"})


async def test_a_profile_that_was_merged_meanwhile_is_a_row_error(caller: Caller, account: Account) -> None:
    gone, stays = people = add_people(caller, account, 2)
    job_id = await imported(caller, *rows_for(people))

    await caller.sim("POST", f"/accounts/{account.id}/profiles/{gone}/merge", {"into": stays})
    job, errors = await ended(caller, account, job_id)

    assert counts(job) == (2, 1, 1)
    assert errors[0]["detail"] == f"A profile with id {gone} does not exist."
    assert errors[0]["source"] == {"pointer": "/data/attributes/profiles/data/0"}
    assert account.profiles[stays].state.properties == {"n": 1}


async def test_a_row_cannot_unset_anything(caller: Caller, account: Account) -> None:
    profile_id = caller.box.world.add_profile(account, {"properties": {"jai_body": "x"}})
    row = {"id": profile_id, "attributes": {}, "meta": {"patch_properties": {"unset": ["jai_body"]}}}

    job, _ = await ended(caller, account, await imported(caller, row))

    assert counts(job) == (1, 1, 0)
    assert account.profiles[profile_id].state.properties == {"jai_body": "x"}


async def test_the_next_sound_rows_fail_as_planned_whichever_job_they_are_in(caller: Caller, account: Account) -> None:
    people = add_people(caller, account, 4)
    fault = {"kind": "row_error", "account_id": account.id, "count": 3, "code": "server_error"}
    await caller.sim("POST", "/faults", fault)

    unsound = {"id": "nobody", "attributes": {}}
    jobs = [await imported(caller, unsound, *rows_for(people[:2])), await imported(caller, *rows_for(people[2:]))]
    first, errors = await ended(caller, account, jobs[0])
    second, _ = await ended(caller, account, jobs[1])

    assert (counts(first), counts(second)) == ((3, 0, 3), (2, 1, 1))
    assert [error["code"] for error in errors].count("server_error") == 2
    assert len(taken(account, people)) == 1


async def test_a_share_of_one_accounts_rows_fails_as_planned(caller: Caller, account: Account) -> None:
    people = add_people(caller, account, 400)
    await caller.sim("POST", "/faults", {"kind": "row_error", "account_id": account.id, "probability": 0.25})
    other = caller.box.world.add_account("Other")

    job, _ = await ended(caller, account, await imported(caller, *rows_for(people)))
    caller.key = caller.box.world.add_key(other, ["lists:write", "lists:read", "profiles:write", "profiles:read"]).value
    spared, _ = await ended(caller, other, await imported(caller, *rows_for(add_people(caller, other, 50))))

    assert job["status"] == "complete"
    assert 60 < job["failed_count"] < 140
    assert len(taken(account, people)) == job["completed_count"] == 400 - job["failed_count"]
    assert counts(spared) == (50, 50, 0)


@pytest.mark.parametrize("payload", [True, False])
@pytest.mark.parametrize(("row", "pointer"), [(True, "/data/attributes/profiles/data/0"), (False, "/data")])
async def test_an_import_error_may_lack_its_payload_or_its_row(payload: bool, row: bool, pointer: str) -> None:
    settings = SimulatorSettings(import_error_payload=payload, import_error_row=row)
    async with running_box(FrozenClock(), settings) as (caller, account):
        job_id = await imported(caller, {"id": "nobody", "attributes": {}})

        _, (error,) = await ended(caller, account, job_id)

    assert ("original_payload" in error) == payload
    assert error["source"] == {"pointer": pointer}


# --- cancelled, lost, refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "applied"), [(0, 0), (0.5, 60)])
async def test_a_job_may_end_cancelled_with_some_of_its_rows_applied(
    caller: Caller, account: Account, share: float, applied: int
) -> None:
    people = add_people(caller, account, 120)
    await caller.sim("POST", "/faults", {"kind": "cancel_job", "applied_share": share, "count": 1})

    job, errors = await ended(caller, account, await imported(caller, *rows_for(people)))
    after, _ = await ended(caller, account, await imported(caller, *rows_for(people)))

    assert (job["status"], counts(job), errors) == ("cancelled", (120, applied, 0), [])
    assert (after["status"], counts(after)) == ("complete", (120, 120, 0))
    assert job["completed_at"] is not None


async def test_a_cancelled_job_leaves_the_rows_it_did_not_reach(caller: Caller, account: Account) -> None:
    people = add_people(caller, account, 120)
    await caller.sim("POST", "/faults", {"kind": "cancel_job", "applied_share": 0.5})

    await ended(caller, account, await imported(caller, *rows_for(people)))

    assert taken(account, people) == list(range(60))


@pytest.mark.parametrize(
    ("fault", "made"),
    [
        ({"kind": "reset"}, False),
        ({"kind": "reset_after_apply"}, True),
        ({"kind": "slow", "delay_s": 30}, True),
    ],
)
async def test_a_job_whose_answer_is_lost_may_have_been_made(
    caller: Caller, account: Account, fault: dict[str, Any], made: bool
) -> None:
    people = add_people(caller, account, 1)
    await caller.sim("POST", "/faults", fault | {"operation": "bulk_import_profiles", "count": 1})

    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        async with asyncio.timeout(3):
            await imported(caller, *rows_for(people))

    listed = (await caller.api("GET", f"{JOBS}?sort=-created_at")).json["data"]
    assert [job["id"] for job in listed] == list(account.jobs)
    assert len(listed) == made
    for job in listed:
        await ended(caller, account, job["id"])
    assert taken(account, people) == [0] * made


@pytest.mark.parametrize(
    ("fault", "status", "made"),
    [
        ({"kind": "status", "status": 500}, 500, False),
        ({"kind": "status", "status": 503}, 503, False),
        ({"kind": "status", "status": 524}, 524, False),
        ({"kind": "status_after_apply", "status": 504}, 504, True),
        ({"kind": "status_after_apply", "status": 524}, 524, True),
        ({"kind": "cloudflare"}, 403, False),
        ({"kind": "unauthorized"}, 401, False),
    ],
)
async def test_a_job_is_made_or_not_behind_an_error(
    caller: Caller, account: Account, fault: dict[str, Any], status: int, made: bool
) -> None:
    await caller.sim("POST", "/faults", fault | {"operation": "bulk_import_profiles", "count": 1})

    refused = await caller.api("POST", JOBS, bulk_body({"attributes": {"email": "a@x.example"}}))

    assert refused.status == status
    assert refused.headers["Content-Type"].startswith("text/html") == (status in (403, 524))
    assert len(account.jobs) == made
    assert (await caller.api("POST", JOBS, bulk_body({"attributes": {"email": "a@x.example"}}))).status == 202


async def test_a_fault_inside_imports_strikes_no_request_and_names_no_other_operation(
    caller: Caller, account: Account
) -> None:
    await caller.sim("POST", "/faults", {"kind": "cancel_job"})
    await caller.sim("POST", "/faults", {"kind": "status", "status": 503, "count": 1})
    wrong = await caller.sim("POST", "/faults", {"kind": "row_error", "operation": "update_profile"}, status=400)

    assert (await caller.api("GET", "/api/metrics")).status == 503
    assert "bulk_import_profiles only" in json.dumps(wrong)
