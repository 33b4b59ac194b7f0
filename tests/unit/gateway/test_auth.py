"""When keys in memory are asked for again."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

from services.gateway.api_key import ApiKey
from services.gateway.auth import Keys
from shared import api_keys
from shared.api_keys import Peppers

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
PEPPERS = Peppers("1:" + "B" * 43 + "=")


class Stored:
    """One key in place of the database; tells how often it was asked."""

    def __init__(self, key: str) -> None:
        self._found = {
            PEPPERS.digest(key)[1]: ApiKey(uuid4(), uuid4(), "acme", frozenset({"generate"}), None, None)
        }  # fmt: skip
        self.asked = asyncio.Semaphore(0)

    async def find(self, digests: Sequence[bytes]) -> Mapping[bytes, ApiKey]:
        self.asked.release()
        return {digest: self._found[digest] for digest in digests if digest in self._found}

    async def mark_used(self, used: Mapping[UUID, datetime]) -> None:
        """When does not matter here."""


async def test_keys_are_asked_for_at_once_when_nobody_will_tell_of_changes_any_more() -> None:
    """A key that is revoked from now on must not wait for the 30 seconds that are long enough while somebody tells."""
    key = api_keys.mint(os.urandom)
    stored, stop = Stored(key), asyncio.Event()
    keys = Keys(stored, PEPPERS, seconds=time.monotonic, random_bytes=os.urandom)
    keys.listen(listening=True)
    await keys.check(key, NOW)
    running = asyncio.create_task(keys.run(stop))

    async with asyncio.timeout(20):
        for _ in ("checked", "told that somebody tells"):
            await stored.asked.acquire()
        keys.listen(listening=False)
        await stored.asked.acquire()
        stop.set()
        await running
