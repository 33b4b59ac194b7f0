"""What looking hooks up may take of the gateway's two database connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast
from uuid import UUID, uuid4

import pytest

from services.gateway.hook_store import MOST_WAITING, HookStore
from shared.db.pool import Database
from shared.errors import Outage

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Slow:
    """A database in which no hook is found, and nothing before it is `let_go`."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.taken = self.most_taken = 0

    @asynccontextmanager
    async def connection(self, timeout_s: float) -> AsyncIterator["Slow"]:
        self.taken += 1
        self.most_taken = max(self.taken, self.most_taken)
        try:
            yield self
        finally:
            self.taken -= 1

    async def fetchrow(self, statement: str, hook_id: UUID) -> None:
        await self.let_go.wait()


async def test_addresses_that_somebody_makes_up_take_one_connection_at_a_time_and_only_so_many_wait() -> None:
    slow = Slow()
    store = HookStore(cast(Database, slow))
    made_up = [asyncio.create_task(store.find(uuid4(), NOW)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(Outage) as refused:
        await store.find(uuid4(), NOW)
    slow.let_go.set()

    assert refused.value.reason == "hooks_busy"
    assert set(await asyncio.gather(*made_up)) == {None}
    assert slow.most_taken == 1
    assert await store.find(uuid4(), NOW) is None
