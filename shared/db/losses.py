"""Spans of which a restored database knows nothing: told by an operator, heeded by the profile writer."""

from datetime import datetime
from typing import Final, NamedTuple

from shared.db.pool import Connection


class Loss(NamedTuple):
    """From the moment of the dump until the restored database was declared."""

    since: datetime
    until: datetime


# Declared twice at one moment: the longer one.
UPSERT: Final = """
    INSERT INTO losses AS l (since, until, over_at) VALUES ($1, $2, $3)
    ON CONFLICT (until) DO UPDATE SET since = least(l.since, excluded.since),
                                      over_at = greatest(l.over_at, excluded.over_at)
"""
SELECT: Final = "SELECT min(since) AS since, max(until) AS until FROM losses WHERE over_at > $1"


async def declare(connection: Connection, loss: Loss, over_at: datetime) -> None:
    """What profiles hold of that span is doubted until then."""
    await connection.execute(UPSERT, *loss, over_at)


async def doubted(connection: Connection, now: datetime) -> Loss | None:
    """The span that is doubted now; of several the one that holds them all."""
    row = await connection.fetchrow(SELECT, now)
    return None if row is None or row["since"] is None else Loss(row["since"], row["until"])
