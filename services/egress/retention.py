"""Drops whole days of generations that are older than we keep them, and nothing that somebody still needs. How the
writes of a day ended, and other ids of its generations, go after it.

A day stays, with a line in the log, while an org with an export target has an hour of it that is not exported as it is
(exports that are off wait, they are not given up), while results of it are not counted, or while a profile may still
show copy of it. Any number of replicas may run it.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import partial
from typing import Protocol

from shared import logs, metrics
from shared.clock import Clock
from shared.db.days import kept_since, old_days, when_free
from shared.db.pool import Database
from shared.errors import Failure, Transient
from shared.stepper import Stepper

log = logs.get(__name__)

LOOK_EVERY = timedelta(hours=1)
_SCAN_TIMEOUT_S = 600.0

SELECT_LEFT = """
    SELECT to_date(right(relname, 8), 'YYYYMMDD') FROM pg_class
    WHERE relname ~ '^dropped_generations_[0-9]{8}$' AND relkind = 'r'
"""
# Also where exports are switched off: what waits is written once they are on again.
SELECT_NOT_EXPORTED = """
    WITH said AS MATERIALIZED (
        SELECT DISTINCT org_id, date_trunc('hour', accepted_at, 'UTC') AS hour FROM generations
        WHERE day = $1 AND decision IN ('treatment', 'control')
    ), wanted AS (
        SELECT s.org_id, t.table_name, s.hour, x.enabled FROM said s JOIN export_targets x ON x.org_id = s.org_id
        CROSS JOIN LATERAL unnest(
            ARRAY['generations'] || CASE WHEN 'outcomes' = ANY (x.tables) THEN ARRAY['outcomes'] ELSE '{}' END
        ) AS t (table_name)
    )
    SELECT o.slug, w.table_name, w.enabled, count(*) AS hours, min(e.error) FILTER (WHERE e.state = 'blocked') AS error
    FROM wanted w JOIN orgs o ON o.org_id = w.org_id
    LEFT JOIN export_hours e ON e.org_id = w.org_id AND e.table_name = w.table_name AND e.hour = w.hour
    WHERE e.hour IS NULL OR e.dirty_seq > e.exported_seq
    GROUP BY o.slug, w.table_name, w.enabled ORDER BY o.slug, w.table_name
"""
SELECT_NOT_COUNTED = """
    SELECT EXISTS (SELECT FROM result_days WHERE day = $1 AND counted < revision)
        OR EXISTS (SELECT FROM shown_quarters WHERE at >= $2 AND at < $3 AND counted < revision)
        OR EXISTS (SELECT FROM shown_marks WHERE at >= $2 AND at < $3 OR day = $1)
"""
SELECT_ON_PROFILES = """
    SELECT (SELECT count(*) FROM profile_state WHERE day = $1 AND state <> 'clean')
         + (SELECT count(*) FROM pending_writes WHERE day = $1)
"""
DETACH = "SELECT detach_generations($1)"
DROP_DETACHED = "SELECT drop_detached_generations($1)"
# Also of days that a late end of a write has made again.
SELECT_LEFT_OUTCOMES = """
    SELECT day FROM (
        SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'write_outcomes'::regclass
    ) one WHERE EXISTS (SELECT FROM dropped_days d WHERE d.day = one.day) ORDER BY day
"""
DETACH_OUTCOMES = "SELECT detach_day('write_outcomes', $1)"
DROP_OUTCOMES = "SELECT drop_detached_days('write_outcomes')"
DELETE_ALIASES = "DELETE FROM generation_aliases WHERE day = $1"
INSERT_DROPPED = "INSERT INTO dropped_days (day, dropped_at) VALUES ($1, $2) ON CONFLICT DO NOTHING"
# Who dirtied an hour held the table, so with its lock in hand all of them are seen.
SELECT_DIRTY = """
    SELECT EXISTS (SELECT FROM export_hours
                   WHERE dirty_seq > exported_seq AND exported_at IS NOT NULL AND hour >= $1 AND hour < $2)
"""
# No later generation or outcome may have a dropped quarter counted anew. By org: that is how quarters are found. Most
# wait for nothing by then, and each try to take the table would write them all in vain.
SETTLE_QUARTERS = """
    UPDATE shown_quarters q SET next_at = NULL, waits_from = NULL, waits_to = NULL, hangs = false, left_to = NULL
    FROM orgs o WHERE q.org_id = o.org_id AND q.at >= $1 AND q.at < $2
      AND (q.next_at IS NOT NULL OR q.waits_from IS NOT NULL OR q.hangs OR q.left_to IS NOT NULL)
"""


class Days(Protocol):
    """What is known of days of generations, and done with them; see StoredDays."""

    async def old(self, before: date) -> Sequence[date]: ...
    async def holds(self, day: date) -> Sequence[str]: ...
    async def drop(self, day: date, at: datetime) -> bool: ...
    async def finish(self) -> None: ...


class Retention(Stepper):
    """A runner."""

    failed = "retention.look_failed"

    def __init__(self, days: Days, clock: Clock, keep_days: int) -> None:
        super().__init__(clock, LOOK_EVERY)
        self._days, self._keep_days = days, keep_days

    async def step(self) -> None:
        """See Stepper."""
        await self.look()

    async def look(self) -> list[date]:
        """One look; the days that were dropped. One that is held keeps no younger one."""
        await self._days.finish()
        dropped, held = [], 0
        for day in await self._days.old(kept_since(self._clock.now(), self._keep_days)):
            try:
                gone = await self._drop(day)
            except Failure as error:
                gone = False
                log.warning("retention.day_failed", day=day.isoformat(), reason=error.reason)
            if gone:
                dropped.append(day)
            else:
                held += 1
        metrics.gauge("retention_held_days", held)
        if dropped:
            await self._days.finish()
        return dropped

    async def _drop(self, day: date) -> bool:
        """False where something holds it, or its table is busy. Raises Failure."""
        if why := await self._days.holds(day):
            log.error("retention.kept", day=day.isoformat(), why=list(why))
            return False
        if not await self._days.drop(day, self._clock.now()):
            log.warning("retention.table_is_busy", day=day.isoformat())
            return False
        log.info("retention.dropped", day=day.isoformat())
        return True


class StoredDays:
    """On PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def old(self, before: date) -> list[date]:
        """All that are there, oldest first: what holds the first ones need not hold the others."""
        return await old_days(self._database, "generations", before)

    async def holds(self, day: date) -> list[str]:
        """Why the day must stay, for people; empty: it need not."""
        start, end = _bounds(day)
        async with self._database.transaction(timeout_s=_SCAN_TIMEOUT_S, long=True) as connection:
            rows = await connection.fetch(SELECT_NOT_EXPORTED, day, timeout=_SCAN_TIMEOUT_S)
            not_counted = await connection.fetchval(SELECT_NOT_COUNTED, day, start, end)
            on_profiles = await connection.fetchval(SELECT_ON_PROFILES, day, timeout=_SCAN_TIMEOUT_S)
        why = [
            f"{row['slug']}: {row['hours']} hours of {row['table_name']} are not exported"
            + ("" if row["enabled"] else "; exports are off")
            + (f" ({row['error']})" if row["error"] else "")
            for row in rows
        ]
        why += ["results are not counted yet"] if not_counted else []
        return why + ([f"{on_profiles} profiles may still show its copy"] if on_profiles else [])

    async def drop(self, day: date, at: datetime) -> bool:
        """Take the day out of the table, and delete it; False where the table was never free, or something came."""
        async with self._database.transaction(timeout_s=_SCAN_TIMEOUT_S, long=True) as connection:
            await connection.execute(DELETE_ALIASES, day, timeout=_SCAN_TIMEOUT_S)
        if not await when_free(partial(self._detach, day, at)):
            return False
        await self._delete(day)
        return True

    async def _detach(self, day: date, at: datetime) -> bool:
        """The table is taken last: with its lock in hand nobody stores a webhook. Who counts a quarter of the day just
        then holds the table, and keeps it from being taken; or comes to it later, and finds the day dropped."""
        start, end = _bounds(day)
        async with self._database.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(INSERT_DROPPED, day, at)
                await connection.execute(SETTLE_QUARTERS, start, end)
                await connection.execute(DETACH, day)
                free = not await connection.fetchval(SELECT_DIRTY, start, end)
            except BaseException:
                await transaction.rollback()
                raise
            await (transaction.commit() if free else transaction.rollback())
        return free

    async def finish(self) -> None:
        """Delete what was taken out of the table before a crash, and how the writes of dropped days ended."""
        async with self._database.connection() as connection:
            left = [row[0] for row in await connection.fetch(SELECT_LEFT)]
            ended = [row["day"] for row in await connection.fetch(SELECT_LEFT_OUTCOMES)]
        for day in left:
            await self._delete(day)
        for day in ended:
            with suppress(Transient):  # the table is busy: with the next look
                async with self._database.connection() as connection:
                    await connection.execute(DETACH_OUTCOMES, day)
        async with self._database.connection() as connection:
            await connection.execute(DROP_OUTCOMES)

    async def _delete(self, day: date) -> None:
        async with self._database.connection() as connection:
            await connection.execute(DROP_DETACHED, day)


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime.fromisoformat(f"{day.isoformat()}T00:00:00+00:00")
    return start, start + timedelta(days=1)
