"""Drops whole days of events that are older than we keep them. What was made of them stays as it was counted.

| | once a day of events is dropped |
|---|---|
| rows of a file that tell of it | rejects of that file, `older than events are kept` |
| emails that were sent on it | stay as they are, but for later opens and clicks, which are added |
| orders of it, and their refunds | stay with their email, whatever templates count from now on |
| where its events came from | is not known any more (`justai event`) |

Rows of files that are no events have no day. They go as long after their file was read.

A switch keeps the table from losing a day until it is through, and reads once from when on events are kept. Any number
of replicas may run this.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from typing import Final

from shared import logs
from shared.clock import Clock
from shared.db.days import kept_since, old_days, when_free
from shared.db.pool import Database
from shared.stepper import AT_ONCE, Stepper

log = logs.get(__name__)

LOOK_EVERY: Final = timedelta(hours=1)
_DELETE_TIMEOUT_S: Final = 600.0
_DAYS_AT_ONCE: Final = 31  # each is a table that its transaction locks
_FILES_AT_ONCE: Final = 200  # of each, one in twenty rows may be none; of one that was accepted, most

DETACH: Final = "SELECT detach_day('events', $1)"
KEEP_SINCE: Final = "UPDATE events_kept SET since = $1 WHERE since < $1"
DROP_DETACHED: Final = "SELECT drop_detached_days('events')"
DELETE_REPEATS: Final = "DELETE FROM event_repeats WHERE day < (SELECT since FROM events_kept)"
# In one statement: of a file that is read again meanwhile only the rows that were there are deleted.
DELETE_REJECTS: Final = """
    DELETE FROM ingest_rejects WHERE file_id = ANY (ARRAY(
        SELECT f.file_id FROM ingest_files f
        CROSS JOIN LATERAL (SELECT FROM ingest_rejects r WHERE r.file_id = f.file_id LIMIT 1) r
        WHERE f.rejects > 0 AND f.settled_at < $1::date::timestamp AT TIME ZONE 'UTC' LIMIT $2))
"""


class Retention(Stepper):
    """`keep_days`: whole days before today that stay."""

    failed = "event_retention.look_failed"

    def __init__(self, days: "Days", clock: Clock, keep_days: int) -> None:
        super().__init__(clock, LOOK_EVERY)
        self._days, self._keep_days = days, keep_days
        self._rejects_since: date | None = None

    async def step(self) -> timedelta | None:
        """See Stepper: some days at a time, oldest first. What a crash left goes with the next ones."""
        since = kept_since(self._clock.now(), self._keep_days)
        old = await self._days.old(since)
        if not old:
            return AT_ONCE if await self._drop_rejects(since) else None
        if not await self._days.drop(old):
            log.warning("event_retention.table_is_busy", day=old[0].isoformat())
            return None
        await self._days.finish()
        log.info("event_retention.dropped", first=old[0].isoformat(), last=old[-1].isoformat(), days=len(old))
        return AT_ONCE

    async def _drop_rejects(self, since: date) -> bool:
        """Whether there may be more of them. Once a day: the whole ledger is looked through."""
        if since == self._rejects_since:
            return False
        if rows := await self._days.drop_rejects(since):
            log.info("event_retention.rejects_dropped", rows=rows)
            return True
        self._rejects_since = since
        return False


class Days:
    """Days of events, and the rows of files that are none, on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def old(self, before: date) -> list[date]:
        """Some that are there, oldest first."""
        return await old_days(self._database, "events", before, _DAYS_AT_ONCE)

    async def drop(self, days: Sequence[date]) -> bool:
        """Take these, oldest first, out of the table; False where the table was never free."""
        return await when_free(partial(self._detach, days))

    async def _detach(self, days: Sequence[date]) -> bool:
        async with self._database.transaction() as connection:
            for day in days:
                await connection.execute(DETACH, day)
            await connection.execute(KEEP_SINCE, days[-1] + timedelta(days=1))
        return True

    async def finish(self) -> None:
        """Delete what was taken out of the table, and who else said it."""
        async with self._database.transaction(timeout_s=_DELETE_TIMEOUT_S, long=True) as connection:
            await connection.execute(DROP_DETACHED, timeout=_DELETE_TIMEOUT_S)
            await connection.execute(DELETE_REPEATS, timeout=_DELETE_TIMEOUT_S)

    async def drop_rejects(self, before: date) -> int:
        """Of some files that were read before that day, UTC; how many rows they were."""
        async with self._database.transaction(timeout_s=_DELETE_TIMEOUT_S, long=True) as connection:
            status = await connection.execute(DELETE_REJECTS, before, _FILES_AT_ONCE, timeout=_DELETE_TIMEOUT_S)
        return int(status.rpartition(" ")[2])
