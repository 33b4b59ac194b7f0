"""The box's ledger file: every request, write and email is a line of it, and nothing secret is in it."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.clock import FrozenClock
from simulator.faults import Fault
from simulator.ledger_file import LedgerFile
from tests.contract.simulator_box import JOBS, Caller, bulk_body, profile_body, running_box
from tests.contract.simulator_stage import staged
from tests.support.waiting import eventually

SECRET_TEXT = "Ann's own words"


def lines(path: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, path.read_bytes().splitlines()) if line["kind"] == kind]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


async def write(caller: Caller, profile_id: str, number: int) -> int:
    copy = {"jai_generation": f"g{number}", "jai_for": "M", "jai_body": SECRET_TEXT}
    body = profile_body(profile_id, copy, first_name=SECRET_TEXT)
    try:
        return (await caller.api("PATCH", f"/api/profiles/{profile_id}", body)).status
    except aiohttp.ClientError:
        return 599


async def test_the_file_counts_what_the_memory_counted_in_a_burst(path: Path) -> None:
    clock = FrozenClock()
    async with running_box(clock, ledger_file=LedgerFile(path)) as (caller, account):
        world = caller.box.world
        people = [world.add_profile(account, {}) for _ in range(40)]
        world.faults += [
            Fault(kind="status", status=503, count=3),
            Fault(kind="reset_after_apply", count=2, operation="update_profile"),
            Fault(kind="cloudflare", count=1),
            Fault(kind="row_error", count=5),
        ]
        told = []
        for _ in range(3):
            told += await asyncio.gather(*(write(caller, it, number) for number, it in enumerate([*people, *people])))
            clock.advance(1)
        rows = [{"id": it, "attributes": {"properties": {"jai_generation": "b", "jai_for": "M"}}} for it in people]
        made = [(await caller.api("POST", JOBS, bulk_body(*rows))).status for _ in range(12)]
        clock.advance(121)
        await eventually(lambda: all(job.ended_at for job in account.jobs.values()))
        await caller.api("GET", "/api/metrics", headers={"Authorization": "Klaviyo-API-Key nobody"})
        logged = list(world.log.since(0, None, 10_000))
        applied = sum(job.applied for job in account.jobs.values())

    requests, writes = lines(path, "request"), lines(path, "write")
    assert Counter((it["operation"], it["status"]) for it in requests) == Counter(
        (entry.operation, entry.status) for entry in logged
    )
    assert [it["request"] for it in requests] == [entry.number for entry in logged] == list(range(1, len(logged) + 1))
    assert Counter(it["status"] for it in requests if it["operation"] == "update_profile") == Counter(told)
    assert made.count(202) == 10
    # Two answers were lost although the write happened.
    by_request = [it for it in writes if "request" in it]
    statuses = {it["request"]: it["status"] for it in requests}
    assert Counter(statuses[it["request"]] for it in by_request) == {200: told.count(200), 599: 2}
    assert Counter(it["job"] for it in writes if "job" in it) == {it: job.applied for it, job in account.jobs.items()}
    assert len(writes) - len(by_request) == applied == 10 * len(people) - 5


async def test_a_line_tells_who_what_when_and_what_is_left(path: Path) -> None:
    clock = FrozenClock()
    async with running_box(clock, ledger_file=LedgerFile(path)) as (caller, account):
        profile_id = caller.box.world.add_profile(account, {})
        started = clock.now()
        await write(caller, profile_id, 1)
        clock.advance(1)
        body = profile_body(profile_id)
        body["data"]["meta"] = {"patch_properties": {"unset": ["jai_generation", "jai_for"]}}
        await caller.api("PATCH", f"/api/profiles/{profile_id}", body)
        missing = await caller.api("PATCH", "/api/profiles/nobody", profile_body("nobody", {}))
        job = await caller.api("POST", JOBS, bulk_body({"id": profile_id, "attributes": {}}))
        for _ in range(2):
            await caller.api("GET", "/api/accounts")

    first, second, third, fourth, _, refused = lines(path, "request")
    assert first == {
        "kind": "request", "at": started.isoformat(), "account": account.id, "request": 1,
        "operation": "update_profile", "status": 200, "admitted": True, "profile": profile_id, "limit": 750,
        "remaining": 749, "reset_s": first["reset_s"],
    }  # fmt: skip
    assert (second["remaining"], third["status"], third["profile"]) == (748, missing.status, "nobody")
    assert (fourth["status"], fourth["job"]) == (202, job.json["data"]["id"])
    assert (refused["status"], refused["admitted"], refused["retry_after_s"]) == (429, False, 1)
    assert "remaining" not in refused
    assert lines(path, "write") == [
        {
            "kind": "write", "at": started.isoformat(), "account": account.id, "profile": profile_id,
            "markers": {"jai_generation": "g1", "jai_for": "M"}, "request": 1,
        },
        {
            "kind": "write", "at": second["at"], "account": account.id, "profile": profile_id,
            "markers": {"jai_generation": None, "jai_for": None}, "request": 2,
        },
    ]  # fmt: skip


async def test_a_profile_that_an_import_makes_is_a_write(path: Path) -> None:
    clock = FrozenClock()
    body = {"data": {"type": "profile", "attributes": {"email": "a@x.example", "properties": {"jai_generation": "g"}}}}
    async with running_box(clock, ledger_file=LedgerFile(path)) as (caller, account):
        caller.box.world.add_profile(account, {"email": "staged@x.example"})
        made = await caller.api("POST", "/api/profile-import", body)

    (line,) = lines(path, "write")
    assert (line["profile"], line["markers"]) == (made.json["data"]["id"], {"jai_generation": "g"})
    assert lines(path, "request")[0]["profile"] == line["profile"]


async def test_nothing_secret_and_nothing_of_a_person_is_in_the_file(path: Path) -> None:
    async with running_box(ledger_file=LedgerFile(path)) as (caller, account):
        await write(caller, caller.box.world.add_profile(account, {}), 1)
        row = {"attributes": {"email": "ann@x.example", "properties": {"jai_generation": "g", "jai_body": SECRET_TEXT}}}
        await caller.api("POST", JOBS, bulk_body(row))
        key = caller.key

    text = json.dumps([line for kind in ("start", "request", "write") for line in lines(path, kind)])
    assert "update_profile" in text
    for secret in (key, SECRET_TEXT, "ann@x.example", "Authorization"):
        assert secret not in text


async def test_every_email_is_a_line_with_the_outcome_that_the_judge_gave(path: Path) -> None:
    async with staged(people=3, ledger_file=LedgerFile(path)) as stage:
        await stage.enter()
        await stage.write(stage.people[0], stage.gateway.generations[stage.people[0]])
        await stage.write(stage.people[1], "unknown", "Hi", jai_body=" ")
        await stage.send()
        outcomes = await stage.outcomes()

    told = {line["profile"]: line for line in lines(path, "email")}
    assert [told[it]["outcome"] for it in stage.people] == ["right", "blank", "control_missed"]
    for row in outcomes["rows"]:
        line = told[row["profile_id"]]
        assert (line["outcome"], line["reason"]) == (row["outcome"], row["reason"])
        assert (line["flow"], line["message"], line["generation"], line["at"]) == (
            row["flow_id"], row["message_id"], row["generation_id"], row["sent_at"],
        )  # fmt: skip
        assert line["transmission"] == row["transmission_id"]


async def test_lines_reach_the_file_while_the_box_runs(path: Path) -> None:
    async with running_box(ledger_file=LedgerFile(path)) as (caller, _):
        await caller.api("GET", "/api/metrics")

        await eventually(lambda: len(lines(path, "request")) == 1, within_s=3)


async def test_a_second_start_appends_to_what_is_there(path: Path) -> None:
    for seed in (1, 2):
        async with running_box(seed=seed, ledger_file=LedgerFile(path)) as (caller, _):
            await caller.api("GET", "/api/metrics")

    assert [line["seed"] for line in lines(path, "start")] == [1, 2]
    assert [line["request"] for line in lines(path, "request")] == [1, 1]


def test_lines_wait_for_their_batch_and_no_longer(path: Path) -> None:
    ledger = LedgerFile(path, batch=3)

    sizes = list(_grown(ledger, path))
    ledger.close()

    assert sizes == [0, 0, 3, 3]
    assert len(lines(path, "start")) == 4


def _grown(ledger: LedgerFile, path: Path) -> Iterator[int]:
    for seed in range(4):
        ledger.started(FrozenClock().now(), seed)
        yield len(lines(path, "start"))
