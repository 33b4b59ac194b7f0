"""Events that name a person and belong to an email that is not known as theirs: its delivery has not come, or it is
another profile's since two were merged. No index finds them, so they are looked for day by day."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from shared.admin.context import Asking
from shared.db.days import days_of_events
from shared.db.pool import Connection

DAY_TIMEOUT_S: Final = 600.0
"""Of one day, which may hold all that a large org was told of."""

SELECT_TOLD = """
    SELECT e.day, e.event_id FROM events e
    WHERE e.org_id = $1 AND e.profile_id = $2 AND e.transmission_id IS NOT NULL AND e.day BETWEEN $3 AND $4
      AND NOT EXISTS (SELECT FROM sends s
                      WHERE s.org_id = $1 AND s.transmission_id = e.transmission_id AND s.profile_id = $2)
"""
DELETE_REPEATS = "DELETE FROM event_repeats WHERE org_id = $1 AND day = $2 AND event_id = ANY ($3::text[])"
DELETE_EVENTS = """
    DELETE FROM events WHERE org_id = $1 AND day = $2 AND event_id = ANY ($3::text[]) AND profile_id = $4
"""

Told = Mapping[date, list[str]]
"""Ids of events, by day."""


async def told_of(asking: Asking, user_id: str, *, only_whether: bool = False) -> Told:
    """What is stored by now; what a file brings afterwards is as if it came after the deletion. Each day in a
    transaction of its own, for all of them may take minutes. `only_whether`: up to the first day with any."""
    found: dict[date, list[str]] = {}
    for first, last in await days_of_events(asking.means.database):
        if only_whether and found:
            break
        async with asking.means.database.transaction(asking.org_id, DAY_TIMEOUT_S, long=True) as connection:
            rows = await connection.fetch(SELECT_TOLD, asking.org_id, user_id, first, last, timeout=DAY_TIMEOUT_S)
        for row in rows:
            found.setdefault(row["day"], []).append(row["event_id"])
    return found


async def delete_told(asking: Asking, connection: Connection, user_id: str, told: Told) -> int:
    """How many events went, and what was told of them otherwise. Within the deletion's transaction."""
    events = 0
    for day, ids in told.items():
        await connection.execute(DELETE_REPEATS, asking.org_id, day, ids)
        status = await connection.execute(DELETE_EVENTS, asking.org_id, day, ids, user_id)
        events += int(status.rpartition(" ")[2])
    return events
