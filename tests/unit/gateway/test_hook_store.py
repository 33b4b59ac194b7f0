"""What looking hooks up may take of the gateway's two database connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID, uuid4

import pytest

from services.gateway.hook_store import MOST_STRANGERS, HookStore
from shared.db.pool import Database
from shared.errors import Outage

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ORG, SOURCE = UUID(int=1), UUID(int=2)


class Slow:
    """A database in which one hook is found at most, and nothing before it is `let_go`."""

    def __init__(self, hook_id: UUID | None = None) -> None:
        self.let_go = asyncio.Event()
        self.hook_id = hook_id
        self.taken = self.most_taken = 0

    @asynccontextmanager
    async def connection(self, timeout_s: float) -> AsyncIterator["Slow"]:
        self.taken += 1
        self.most_taken = max(self.taken, self.most_taken)
        try:
            yield self
        finally:
            self.taken -= 1

    async def fetchrow(self, statement: str, hook_id: UUID) -> tuple[object, ...] | None:
        await self.let_go.wait()
        return (hook_id, ORG, SOURCE, "shop", "sealed", None, None) if hook_id == self.hook_id else None


async def test_addresses_that_somebody_makes_up_take_one_connection_at_a_time_and_only_so_many_wait() -> None:
    slow = Slow()
    store = HookStore(cast(Database, slow))
    made_up = [asyncio.create_task(store.find(uuid4(), NOW)) for _ in range(MOST_STRANGERS)]
    await asyncio.sleep(0)

    with pytest.raises(Outage) as refused:
        await store.find(uuid4(), NOW)
    slow.let_go.set()

    assert refused.value.reason == "hooks_busy"
    assert set(await asyncio.gather(*made_up)) == {None}
    assert slow.most_taken == 1
    assert await store.find(uuid4(), NOW) is None


async def test_a_hook_that_is_known_finds_room_whatever_addresses_somebody_makes_up() -> None:
    slow = Slow(hook_id := uuid4())
    slow.let_go.set()
    store = HookStore(cast(Database, slow))
    assert await store.find(hook_id, NOW)
    for _ in range(2_000):  # forgotten one after the other, but no hook with them
        await store.find(uuid4(), NOW)
    slow.let_go.clear()
    later = NOW + timedelta(minutes=1)

    made_up = [asyncio.create_task(store.find(uuid4(), later)) for _ in range(2 * MOST_STRANGERS)]
    await asyncio.sleep(0)
    known = asyncio.create_task(store.find(hook_id, later))
    await asyncio.sleep(0)
    slow.let_go.set()

    hook = await known
    assert hook is not None
    assert hook.hook_id == hook_id
    ended = await asyncio.gather(*made_up, return_exceptions=True)
    assert sum(isinstance(one, Outage) for one in ended) == MOST_STRANGERS
