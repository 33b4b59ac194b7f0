"""Rate windows, their headers, and every planned misbehaviour, over HTTP."""

import asyncio
import json
from itertools import pairwise

import aiohttp
import pytest

from shared.clock import FrozenClock
from simulator.account import Account
from simulator.api.jsonapi import MEDIA_TYPE
from simulator.settings import SimulatorSettings
from tests.contract.simulator_box import REVISION, Caller, Reply, profile_body, running_box
from tests.support.waiting import eventually


async def person(caller: Caller, account: Account) -> str:
    return caller.box.world.add_profile(account, {"email": "ann@x.example"})


async def write(caller: Caller, profile_id: str, **properties: object) -> Reply:
    path = f"/api/profiles/{profile_id}?fields[profile]=updated"
    return await caller.api("PATCH", path, profile_body(profile_id, properties or {"jai_body": "x"}))


async def test_no_second_admits_more_than_75_and_no_minute_more_than_750(
    caller: Caller, account: Account, clock: FrozenClock
) -> None:
    profile_id = await person(caller, account)

    per_second = []
    for _ in range(12):
        replies = await asyncio.gather(*(write(caller, profile_id) for _ in range(80)))
        per_second.append(sum(reply.status == 200 for reply in replies))
        clock.advance(1)

    assert per_second == [75] * 10 + [0, 0]
    windows = await caller.sim("GET", f"/accounts/{account.id}/windows")
    assert windows["update_profile"] == [
        {"length_s": 1.0, "limit": 75, "admitted_max": 75},
        {"length_s": 60.0, "limit": 750, "admitted_max": 750},
    ]


async def test_answers_tell_the_steady_window_and_a_429_only_when_to_come_back(
    caller: Caller, account: Account, clock: FrozenClock
) -> None:
    profile_id = await person(caller, account)

    first = await write(caller, profile_id)
    replies = [await write(caller, profile_id) for _ in range(75)]

    assert {name: first.headers[name] for name in first.headers if name.startswith("RateLimit")} == {
        "RateLimit-Limit": "750",
        "RateLimit-Remaining": "749",
        "RateLimit-Reset": "60",
    }
    refused = replies[-1]
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    assert not [name for name in refused.headers if name.startswith("RateLimit")]
    assert refused.error["code"] == "throttled"
    assert refused.error["detail"] == "Request was throttled. Expected available in 1 second."
    clock.advance(1)
    assert (await write(caller, profile_id)).status == 200


async def test_a_429_may_come_without_retry_after() -> None:
    async with running_box(settings=SimulatorSettings(retry_after=False)) as (caller, _):
        await caller.api("GET", "/api/accounts")

        refused = await caller.api("GET", "/api/accounts")

    assert refused.status == 429
    assert "Retry-After" not in refused.headers
    assert refused.error["detail"] == "Request was throttled. Expected available in 0 seconds."


async def test_windows_are_kept_per_operation_and_shared_by_the_keys_of_an_account(
    caller: Caller, account: Account
) -> None:
    other_key = (await caller.sim("POST", f"/accounts/{account.id}/keys", {"scopes": "all"}))["key"]
    first = await caller.api("GET", "/api/accounts")

    caller.key = other_key

    assert first.status == 200
    assert (await caller.api("GET", "/api/accounts")).status == 429
    assert (await caller.api("GET", "/api/metrics")).status == 200


async def test_an_include_spends_a_stricter_window_as_well(caller: Caller, account: Account) -> None:
    profile_id = await person(caller, account)
    path = f"/api/profiles/{profile_id}"

    statuses = [(await caller.api("GET", f"{path}?include=lists")).status for _ in range(2)]

    assert statuses == [200, 429]
    assert (await caller.api("GET", path)).status == 200


async def test_a_refused_call_of_a_known_key_still_spends_quota(caller: Caller) -> None:
    refused = await caller.api("GET", "/api/accounts", headers={"revision": "nonsense"})

    assert (refused.status, refused.headers["RateLimit-Remaining"]) == (400, "14")
    assert (await caller.api("GET", "/api/accounts")).status == 429


async def test_foreign_traffic_eats_the_quota(caller: Caller, account: Account, clock: FrozenClock) -> None:
    profile_id = await person(caller, account)
    traffic = {"operation": "update_profile", "per_s": 50}
    await caller.sim("POST", f"/accounts/{account.id}/foreign-traffic", traffic)
    clock.advance(0.9)

    replies = [await write(caller, profile_id) for _ in range(40)]

    assert sum(reply.status == 200 for reply in replies) == 30
    assert replies[0].headers["RateLimit-Remaining"] == str(750 - 45 - 1)


@pytest.mark.parametrize(("pattern", "burst"), [("poisson", 1), ("bursts", 15)])
async def test_other_apps_take_imports_too_at_random_or_in_bursts(
    caller: Caller, account: Account, clock: FrozenClock, pattern: str, burst: int
) -> None:
    traffic = {"operation": "bulk_import_profiles", "per_s": 2, "pattern": pattern, "burst": burst}
    await caller.sim("POST", f"/accounts/{account.id}/foreign-traffic", traffic)
    profiles = {"data": [{"type": "profile", "attributes": {"email": "a@x.example"}}]}
    body = {"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": profiles}}}

    left = []
    for _ in range(59):
        clock.advance(1)
        reply = await caller.api("POST", "/api/profile-bulk-import-jobs", body)
        left.append(int(reply.headers.get("RateLimit-Remaining", -1)))

    told = [number for number in left if number >= 0]
    lost = [before - after - 1 for before, after in pairwise(told)]
    assert 150 - told[-1] > 59 + 40
    # A burst fills its whole second, in which one call was ours.
    assert max(lost) == 9 if pattern == "bursts" else 3 <= max(lost) < 9
    assert 0 in lost


# --- misbehaviour ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504, 524])
async def test_a_failing_write_did_not_happen(caller: Caller, account: Account, status: int) -> None:
    profile_id = await person(caller, account)
    await caller.sim("POST", "/faults", {"kind": "status", "status": status, "operation": "update_profile", "count": 1})

    failed, healed = await write(caller, profile_id, n=1), await write(caller, profile_id, m=2)

    assert (failed.status, healed.status) == (status, 200)
    assert account.profiles[profile_id].state.properties == {"m": 2}


async def test_an_error_may_hide_a_write_that_happened(caller: Caller, account: Account) -> None:
    profile_id = await person(caller, account)
    await caller.sim("POST", "/faults", {"kind": "status_after_apply", "status": 504, "count": 1})

    assert (await write(caller, profile_id, n=1)).status == 504
    assert account.profiles[profile_id].state.properties == {"n": 1}


@pytest.mark.parametrize(("kind", "happened"), [("reset", {}), ("reset_after_apply", {"n": 1})])
async def test_a_lost_answer_may_hide_a_write_that_happened(
    caller: Caller, account: Account, kind: str, happened: dict[str, int]
) -> None:
    profile_id = await person(caller, account)
    await caller.sim("POST", "/faults", {"kind": kind, "operation": "update_profile", "count": 1})

    with pytest.raises(aiohttp.ClientError):
        await write(caller, profile_id, n=1)

    assert account.profiles[profile_id].state.properties == happened
    assert (await write(caller, profile_id, n=1)).status == 200


async def test_a_slow_answer_comes_late_and_the_write_happened_at_once(caller: Caller, account: Account) -> None:
    profile_id = await person(caller, account)
    await caller.sim("POST", "/faults", {"kind": "slow", "delay_s": 30, "count": 1})

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await write(caller, profile_id, n=1)

    assert account.profiles[profile_id].state.properties == {"n": 1}


async def test_a_slow_body_begins_at_once_and_the_write_happened_then(caller: Caller, account: Account) -> None:
    profile_id = await person(caller, account)
    for delay_s in (0.05, 30):
        await caller.sim("POST", "/faults", {"kind": "slow_body", "delay_s": delay_s, "count": 1})
    sent = {"Authorization": f"Klaviyo-API-Key {caller.key}", "revision": REVISION, "Content-Type": MEDIA_TYPE}

    soon = await write(caller, profile_id, n=1)
    url, body = f"{caller.box.url}/api/profiles/{profile_id}", json.dumps(profile_body(profile_id, {"n": 2}))
    async with caller.session.patch(url, data=body, headers=sent) as answer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await answer.read()

    assert (soon.status, soon.json["data"]["id"]) == (200, profile_id)
    assert answer.status == 200
    assert account.profiles[profile_id].state.properties == {"n": 2}


async def test_a_late_write_happens_when_it_is_answered(caller: Caller, account: Account, clock: FrozenClock) -> None:
    profile_id, asked_at = await person(caller, account), clock.now()
    await caller.sim("POST", "/faults", {"kind": "late", "delay_s": 3, "count": 1})

    writing = asyncio.create_task(write(caller, profile_id, n=1))
    await eventually(lambda: caller.box.world.faults[0].count == 0)
    clock.advance(60)
    reply = await writing

    profile = account.profiles[profile_id]
    assert reply.status == 200
    assert profile.as_of(asked_at).properties == {}
    assert profile.updated_at == clock.now()


async def test_cloudflare_answers_403_with_a_page(caller: Caller, account: Account) -> None:
    profile_id = await person(caller, account)
    await caller.sim("POST", "/faults", {"kind": "cloudflare", "count": 1})

    blocked = await write(caller, profile_id)

    assert blocked.status == 403
    assert blocked.headers["Content-Type"].startswith("text/html")
    assert "CF-Ray" in blocked.headers
    assert (await write(caller, profile_id)).status == 200


async def test_a_key_can_be_revoked_for_a_while(caller: Caller, account: Account) -> None:
    profile_id = await person(caller, account)
    await caller.sim("POST", "/faults", {"kind": "unauthorized", "account_id": account.id})

    refused = await write(caller, profile_id)
    await caller.sim("DELETE", "/faults")

    assert (refused.status, refused.error["code"]) == (401, "authentication_failed")
    assert (await write(caller, profile_id)).status == 200


async def test_a_fault_for_an_unknown_operation_is_refused(caller: Caller) -> None:
    answer = await caller.sim("POST", "/faults", {"kind": "status", "operation": "updat_profile"}, status=400)

    assert answer == {"error": "no operation updat_profile"}


# --- the log ---------------------------------------------------------------------------------------------------------


async def test_the_log_has_every_request_without_its_secret(caller: Caller, account: Account) -> None:
    profile_id = await person(caller, account)
    await write(caller, profile_id, jai_body="<p>é</p>")
    await caller.api("GET", "/api/metrics")

    log = await caller.sim("GET", "/requests?operation=update_profile")

    assert log["total"] == 2
    (entry,) = log["requests"]
    assert (entry["method"], entry["status"], entry["account_id"]) == ("PATCH", 200, account.id)
    assert entry["path"].startswith(f"/api/profiles/{profile_id}?fields")
    assert json.loads(entry["body"]) == profile_body(profile_id, {"jai_body": "<p>é</p>"})
    assert entry["headers"]["Authorization"] == "Klaviyo-API-Key ***"
    assert entry["headers"]["revision"] == REVISION
    assert caller.key not in json.dumps(log)
