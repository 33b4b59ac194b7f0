"""SQL of system webhooks: hooks by their id, and batches."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from shared.db.pool import Database
from shared.errors import Outage

TIMEOUT_S: Final = 10.0
"""Real seconds for a look-up or a batch, its turn included."""
MOST_WAITING: Final = 64
"""For their turn; some milliseconds each, unless batches are large."""
MOST_STRANGERS: Final = 16
"""Of those that wait: look-ups of addresses of which no hook is known. Anybody may make such addresses up, and whoever
does shall leave room for the hooks that there are."""
_REMEMBERED: Final = timedelta(seconds=5)  # a hook that was rotated or switched off; also one that is not there
_STRANGERS_REMEMBERED: Final = 1000

SELECT_HOOK: Final = """
    SELECT h.hook_id, h.org_id, h.source_id, o.slug, h.sealed_secret, h.sealed_before, h.before_until
    FROM event_hooks h JOIN sources s USING (source_id) JOIN orgs o ON o.org_id = h.org_id
    WHERE h.hook_id = $1 AND s.enabled AND s.removed_at IS NULL
"""
INSERT_BATCH: Final = """
    INSERT INTO event_batches (batch_id, org_id, source_id, signature, received_at, bytes, lines)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (source_id, signature) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where Klaviyo sends events of one org, and what it signs them with."""

    hook_id: UUID
    org_id: UUID
    source_id: UUID
    org_slug: str
    sealed_secret: str
    sealed_before: str | None
    before_until: datetime | None


class HookStore:
    """Hooks and batches. What was looked up counts for some seconds, so that nobody can ask the database with one
    address again and again. Whoever makes up many, or sends large batches, has one connection at a time: the gateway
    has two, and the other one finds API keys within their two seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns, self._waiting, self._strangers = asyncio.Semaphore(1), 0, 0
        self._hooks: dict[UUID, tuple[datetime, Hook]] = {}
        self._none: OrderedDict[UUID, datetime] = OrderedDict()

    async def find(self, hook_id: UUID, now: datetime) -> Hook | None:
        """None: there is no such hook, or its source is switched off. Raises Failure."""
        known, missed_at = self._hooks.get(hook_id), self._none.get(hook_id)
        if known is not None and now - known[0] < _REMEMBERED:
            return known[1]
        if missed_at is not None and now - missed_at < _REMEMBERED:
            return None
        turn = self._turn() if known is not None else self._turn_of_stranger()
        async with turn, self._database.connection(TIMEOUT_S) as connection:
            row = await connection.fetchrow(SELECT_HOOK, hook_id)
        self._hooks.pop(hook_id, None)
        self._none.pop(hook_id, None)
        if row is not None:
            self._hooks[hook_id] = now, (hook := Hook(*row))
            return hook
        self._none[hook_id] = now
        if len(self._none) > _STRANGERS_REMEMBERED:
            self._none.popitem(last=False)
        return None

    async def add(self, hook: Hook, batch_id: UUID, signature: str, lines: bytes, now: datetime) -> None:
        """Return when the batch is stored durably; one with the same signature was stored before. Raises Failure."""
        key = signature.strip().lower().encode()
        async with self._turn(), self._database.transaction(hook.org_id, TIMEOUT_S) as connection:
            await connection.execute(
                INSERT_BATCH, batch_id, hook.org_id, hook.source_id, key, now, len(lines), lines
            )  # fmt: skip

    @asynccontextmanager
    async def _turn_of_stranger(self) -> AsyncIterator[None]:
        if self._strangers >= MOST_STRANGERS:
            raise Outage("too many hooks that are not known are asked for at once", reason="hooks_busy")
        self._strangers += 1
        try:
            async with self._turn():
                yield
        finally:
            self._strangers -= 1

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Raises Outage when too many wait already, or it does not come in time."""
        if self._waiting >= MOST_WAITING:
            raise Outage("too many hooks are asked for at once", reason="hooks_busy")
        self._waiting += 1
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turns:
                yield
        except TimeoutError as error:
            raise Outage("the database did not answer in time", reason="database_timeout") from error
        finally:
            self._waiting -= 1
