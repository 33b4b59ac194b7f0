"""SQL of the delays after failed sign-ins."""

from collections.abc import Iterable
from datetime import datetime

from services.console.people.delays import Delay, Kind, after_failure, wait_s
from shared.db.pool import Database

Counted = tuple[Kind, bytes]

SELECT_BLOCKED_UNTIL = """
    SELECT max(blocked_until) FROM signin_delays
    WHERE (kind, key) IN (SELECT * FROM unnest($1::text[], $2::bytea[]))
"""
INSERT_MISSING = """
    INSERT INTO signin_delays (kind, key, failures, last_failed_at, blocked_until) VALUES ($1, $2, 0, $3, $3)
    ON CONFLICT (kind, key) DO NOTHING
"""
SELECT_FOR_UPDATE = "SELECT failures, blocked_until FROM signin_delays WHERE kind = $1 AND key = $2 FOR UPDATE"
UPDATE_DELAY = """
    UPDATE signin_delays SET failures = $3, last_failed_at = $4, blocked_until = $5 WHERE kind = $1 AND key = $2
"""
GIVE_BACK_ONE = """
    UPDATE signin_delays SET failures = greatest(failures - 1, 0), blocked_until = least(blocked_until, $3)
    WHERE kind = $1 AND key = $2
"""
DELETE_DELAY = "DELETE FROM signin_delays WHERE kind = $1 AND key = $2"


class DelayStore:
    """Counts in PostgreSQL, so that replicas share them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(self, counted: Iterable[Counted], now: datetime) -> float:
        """Count one attempt as failed before it is looked at; 0. Or seconds to wait, and nothing is counted.

        The rows are locked in one order, so attempts at once wait for each other instead of for themselves. Who has to
        wait is told before that: an address that is blocked makes up emails, and each would leave a row behind.
        """
        keys = sorted(counted)
        async with self._database.transaction() as connection:
            blocked = await connection.fetchval(SELECT_BLOCKED_UNTIL, *map(list, zip(*keys, strict=True)))
            if blocked is not None and (wait := wait_s(Delay(0, blocked), now)):
                return wait
            known: list[Delay] = []
            for kind, key in keys:
                await connection.execute(INSERT_MISSING, kind, key, now)
                row = await connection.fetchrow(SELECT_FOR_UPDATE, kind, key)
                known.append(Delay(*row) if row else Delay(0, now))
            wait = max(wait_s(delay, now) for delay in known)
            if wait == 0:
                for (kind, key), delay in zip(keys, known, strict=True):
                    after = after_failure(kind, delay, now)
                    await connection.execute(UPDATE_DELAY, kind, key, after.failures, now, after.blocked_until)
        return wait

    async def give_back(self, counted: Iterable[Counted], now: datetime) -> None:
        """The attempt was none, or succeeded; what failed before it still counts."""
        async with self._database.transaction() as connection:
            for kind, key in sorted(counted):
                await connection.execute(GIVE_BACK_ONE, kind, key, now)

    async def forget(self, kind: Kind, key: bytes) -> None:
        """All is well with this one."""
        async with self._database.connection() as connection:
            await connection.execute(DELETE_DELAY, kind, key)
