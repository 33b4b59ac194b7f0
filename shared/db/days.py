"""Whole days that are older than they are kept, and a table that is taken when nobody holds it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Final, Literal

from shared.db.pool import Database
from shared.errors import Transient

TRIES: Final = 40
TRY_EVERY_S: Final = 0.25
"""Real; most statements on a table are over by then."""

SELECT_DAYS: Final = """
    SELECT day FROM (
        SELECT CASE WHEN c.relname ~ '_[0-9]{8}$' THEN to_date(right(c.relname, 8), 'YYYYMMDD')
                    ELSE '2025-12-31'::date END AS day  -- events_history
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = $1::text::regclass AND c.relname ~ '_([0-9]{8}|history)$'
    ) one WHERE day < $2 ORDER BY day LIMIT $3
"""

SELECT_DAYS_OF_EVENTS: Final = """
    SELECT CASE WHEN c.relname ~ '_history$' THEN '-infinity'::date ELSE last END AS first, last
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT CASE WHEN c.relname ~ '_history$' THEN '2025-12-31'::date
                                    ELSE to_date(right(c.relname, 8), 'YYYYMMDD') END AS last) one
    WHERE i.inhparent = 'events'::regclass AND c.relname ~ '_([0-9]{8}|history)$' ORDER BY last DESC
"""


def kept_since(now: datetime, keep_days: int) -> date:
    """The oldest day that is kept, UTC: `keep_days` whole days before today, and today."""
    return (now - timedelta(days=keep_days)).date()


async def old_days(
    database: Database, parent: Literal["events", "generations"], before: date, at_most: int | None = None
) -> list[date]:
    """Days with a partition, oldest first; all of them unless told `at_most`."""
    async with database.connection() as connection:
        return [row["day"] for row in await connection.fetch(SELECT_DAYS, parent, before, at_most)]


async def days_of_events(database: Database) -> list[tuple[date, date]]:
    """The first and the last day of each partition, newest first."""
    async with database.connection() as connection:
        return [(row["first"], row["last"]) for row in await connection.fetch(SELECT_DAYS_OF_EVENTS)]


async def when_free(take: Callable[[], Awaitable[bool]]) -> bool:
    """What `take` returns, which raises Transient while somebody holds the table; False where it was never free."""
    for _ in range(TRIES):
        try:
            return await take()
        except Transient:
            await asyncio.sleep(TRY_EVERY_S)
    return False
