"""System webhooks on the wire: signed batches are stored before they are answered, anything else is refused."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.gateway.hook_batches import MOST_BYTES
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from simulator.account import Account
from simulator.people.hooks import signed_batch
from simulator.world import World
from tests.component.gateway.rig import Rig
from tests.support.klaviyo_events import Mail

SECRET, OLDER = "s" * 43, "o" * 43
RING = KeyRing(f"k1:{base64.b64encode(bytes(32)).decode()}")


async def add_hook(rig: Rig, org_id: UUID, *, older_for: timedelta | None = None) -> UUID:
    source_id, hook_id, now = uuid4(), uuid4(), datetime.now(UTC)
    place = f"{org_id}/hook/{hook_id}"
    async with rig.db.transaction() as connection:
        await connection.execute(
            "INSERT INTO sources (source_id, org_id, name, kind) VALUES ($1, $2, 'hook', 'webhook')", source_id, org_id
        )
        await connection.execute(
            "INSERT INTO event_hooks VALUES ($1, $2, $3, $4, $5, $6, $7)", source_id, org_id, hook_id,
            RING.seal(SECRET, place), RING.seal(OLDER, place) if older_for else None,
            now + older_for if older_for else None, now,
        )  # fmt: skip
    return hook_id


@pytest.fixture
def account() -> Account:
    return World(FrozenClock()).add_account("Corner Shop")


def batch(
    account: Account, *, secret: str = SECRET, at: datetime | None = None, number: int = 2
) -> tuple[Mapping[str, str], bytes]:
    now = at or datetime.now(UTC)
    events = [Mail(account, now - timedelta(minutes=5), f"01P{one}").received() for one in range(number)]
    made = signed_batch(account.id, events, secret, "hook1", now)
    return made.headers, made.body


async def send(
    rig: Rig, hook_id: UUID, headers: Mapping[str, str], body: bytes, *, slug: str = "acme"
) -> tuple[int, dict[str, Any]]:
    async with rig.http.post(f"{rig.url}/api/klaviyo-events/{slug}/{hook_id}", data=body, headers=headers) as answer:
        return answer.status, json.loads(await answer.read())


async def batches(rig: Rig) -> list[dict[str, Any]]:
    async with rig.db.transaction() as connection:
        rows = await connection.fetch("SELECT org_id, bytes, lines FROM event_batches ORDER BY received_at")
    return [dict(row) for row in rows]


async def test_a_signed_batch_is_stored_as_lines_before_it_is_answered(rig: Rig, account: Account) -> None:
    hook_id = await add_hook(rig, rig.acme)

    status, said = await send(rig, hook_id, *batch(account))

    assert (status, said) == (202, {"accepted": 2})
    [stored] = await batches(rig)
    lines = [json.loads(line) for line in stored["lines"].splitlines()]
    assert stored["org_id"] == rig.acme
    assert stored["bytes"] == len(stored["lines"])
    assert [(line["metric"], line["profile_id"]) for line in lines] == [
        ("Received Email", "01P0"),
        ("Received Email", "01P1"),
    ]


async def test_a_batch_that_is_sent_again_is_one_batch(rig: Rig, account: Account) -> None:
    hook_id = await add_hook(rig, rig.acme)
    once = batch(account)

    answers = [await send(rig, hook_id, *once) for _ in range(3)]

    assert [status for status, _ in answers] == [202] * 3
    assert len(await batches(rig)) == 1


async def test_a_bad_signature_an_old_timestamp_and_a_changed_body_are_refused(rig: Rig, account: Account) -> None:
    hook_id = await add_hook(rig, rig.acme)
    headers, body = batch(account)
    long_ago = datetime.now(UTC) - timedelta(minutes=6)

    wrong = await send(rig, hook_id, *batch(account, secret="w" * 43))
    old = await send(rig, hook_id, *batch(account, at=long_ago))
    changed = await send(rig, hook_id, headers, body.replace(b"01P0", b"01P9"))
    unsigned = await send(rig, hook_id, {}, body)

    assert [(status, said["error"]["code"]) for status, said in (wrong, old, changed, unsigned)] == [
        (401, "bad_signature"), (401, "stale_timestamp"), (401, "bad_signature"), (401, "bad_signature"),
    ]  # fmt: skip
    assert await batches(rig) == []


async def test_an_unknown_hook_and_one_of_another_org_look_alike(rig: Rig, account: Account) -> None:
    hook_id = await add_hook(rig, rig.acme)

    unknown = await send(rig, uuid4(), *batch(account))
    other = await send(rig, hook_id, *batch(account), slug="other")

    assert unknown == other
    assert (unknown[0], unknown[1]["error"]["code"]) == (404, "unknown_hook")


async def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(rig: Rig) -> None:
    hook_id = await add_hook(rig, rig.acme)
    url = f"{rig.url}/api/klaviyo-events/acme/{hook_id}"

    async def chunks() -> Any:
        for _ in range(9):
            yield b"x" * (1 << 20)

    async with rig.http.post(url, data=io.BytesIO(b"x" * (MOST_BYTES + 1))) as announced:
        assert announced.status == 413
    async with rig.http.post(url, data=chunks()) as chunked:
        assert chunked.status == 413
    assert await batches(rig) == []


async def test_bodies_that_stall_at_one_orgs_hook_leave_room_for_anothers(rig: Rig, account: Account) -> None:
    stalls, other = await add_hook(rig, rig.acme), await add_hook(rig, rig.other)
    over = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await over.wait()

    async def stall() -> int:
        async with rig.http.post(f"{rig.url}/api/klaviyo-events/acme/{stalls}", data=body()) as answer:
            return answer.status

    # Of five one is refused: the other four have their places then.
    refused, stalled = await asyncio.wait(
        [asyncio.create_task(stall()) for _ in range(5)], return_when=asyncio.FIRST_COMPLETED
    )
    taken, _ = await send(rig, other, *batch(account), slug="other")
    over.set()
    await asyncio.wait(stalled)
    again, _ = await send(rig, stalls, *batch(account))

    assert [one.result() for one in refused] == [503]
    assert (taken, again) == (202, 202)


async def test_the_secret_before_goes_on_until_its_time_is_over(rig: Rig, account: Account) -> None:
    rotated = await add_hook(rig, rig.acme, older_for=timedelta(hours=1))
    over = await add_hook(rig, rig.other, older_for=timedelta(hours=-1))

    with_old = await send(rig, rotated, *batch(account, secret=OLDER))
    with_new = await send(rig, rotated, *batch(account))
    too_late = await send(rig, over, *batch(account, secret=OLDER), slug="other")

    assert (with_old[0], with_new[0], too_late[0]) == (202, 202, 401)


async def test_a_signed_body_that_is_no_batch_is_said_and_other_methods_are_not_taken(
    rig: Rig, account: Account
) -> None:
    hook_id = await add_hook(rig, rig.acme)
    empty = signed_batch(account.id, [], SECRET, "hook1", datetime.now(UTC))
    other = dict(empty.headers) | {"Klaviyo-Webhook-Id": "hook2"}

    two_names = await send(rig, hook_id, other, empty.body)
    async with rig.http.get(f"{rig.url}/api/klaviyo-events/acme/{hook_id}") as got:
        assert (got.status, got.headers["Allow"]) == (405, "POST")
    assert (two_names[0], two_names[1]["error"]["code"]) == (422, "invalid_batch")
