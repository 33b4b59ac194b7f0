"""Drops whole days of events that are older than we keep them. What was made of them stays as it was counted.

| | once a day of events is dropped |
|---|---|
| rows of a file that tell of it | rejects of that file, `older than events are kept` |
| emails that were sent on it | stay as they are, but for later opens and clicks, which are added |
| orders of it, and their refunds | stay with their email, whatever templates count from now on |
| where its events came from | is not known any more (`justai event`) |

A switch keeps the table from losing a day until it is through, and reads once from when on events are kept. Any number
of replicas may run this.
"""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, Protocol

from services.ingest.stepper import AT_ONCE, Stepper
from shared import logs
from shared.clock import Clock
from shared.db.pool import Database
from shared.errors import Transient

log = logs.get(__name__)

LOOK_EVERY: Final = timedelta(hours=1)
_DAYS_AT_ONCE: Final = 31
_TRIES: Final = 40
_TRY_EVERY_S: Final = 0.25  # real; most statements on the table are over by then
_DELETE_TIMEOUT_S: Final = 600.0

SELECT_DAYS: Final = """
    SELECT day FROM (
        SELECT CASE c.relname WHEN 'events_history' THEN '2025-12-31'::date
                    ELSE to_date(right(c.relname, 8), 'YYYYMMDD') END AS day
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'events'::regclass
    ) one WHERE day < $1 ORDER BY day LIMIT $2
"""
DETACH: Final = "SELECT detach_day('events', $1)"
KEEP_SINCE: Final = "UPDATE events_kept SET since = $1 WHERE since < $1"
DROP_DETACHED: Final = "SELECT drop_detached_days('events')"
DELETE_REPEATS: Final = "DELETE FROM event_repeats WHERE day < (SELECT since FROM events_kept)"


class Days(Protocol):
    """Days of events; see StoredDays."""

    async def old(self, before: date, limit: int) -> Sequence[date]: ...
    async def drop(self, days: Sequence[date]) -> bool: ...
    async def finish(self) -> None: ...


class Retention(Stepper):
    """`keep_days`: whole days before today that stay."""

    failed = "event_retention.look_failed"

    def __init__(self, days: Days, clock: Clock, keep_days: int) -> None:
        super().__init__(clock, LOOK_EVERY)
        self._days, self._keep_days, self._finished = days, keep_days, False

    async def step(self) -> timedelta | None:
        """See Stepper: some days at a time, oldest first."""
        if not self._finished:
            await self._days.finish()  # what a crash left
            self._finished = True
        old = await self._days.old(kept_since(self._clock.now(), self._keep_days), _DAYS_AT_ONCE)
        if not old:
            return None
        self._finished = False
        if not await self._days.drop(old):
            log.warning("event_retention.table_is_busy", day=old[0].isoformat())
            return None
        await self._days.finish()
        self._finished = True
        log.info("event_retention.dropped", first=old[0].isoformat(), last=old[-1].isoformat(), days=len(old))
        return AT_ONCE


def kept_since(now: datetime, keep_days: int) -> date:
    """The oldest day that is kept, UTC: `keep_days` whole days before today, and today."""
    return (now - timedelta(days=keep_days)).date()


class StoredDays:
    """On PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def old(self, before: date, limit: int) -> list[date]:
        """Days with a partition, oldest first."""
        async with self._database.connection() as connection:
            return [row["day"] for row in await connection.fetch(SELECT_DAYS, before, limit)]

    async def drop(self, days: Sequence[date]) -> bool:
        """Take these days, oldest first, out of the table; False where the table was never free."""
        for _ in range(_TRIES):
            try:
                async with self._database.transaction() as connection:
                    for day in days:
                        await connection.execute(DETACH, day)
                    await connection.execute(KEEP_SINCE, days[-1] + timedelta(days=1))
                return True
            except Transient:
                await asyncio.sleep(_TRY_EVERY_S)
        return False

    async def finish(self) -> None:
        """Delete what was taken out of the table, and who else said it."""
        async with self._database.transaction(timeout_s=_DELETE_TIMEOUT_S) as connection:
            await connection.execute(f"SET LOCAL statement_timeout = '{_DELETE_TIMEOUT_S:.0f}s'")
            await connection.execute(DROP_DETACHED, timeout=_DELETE_TIMEOUT_S)
            await connection.execute(DELETE_REPEATS, timeout=_DELETE_TIMEOUT_S)
