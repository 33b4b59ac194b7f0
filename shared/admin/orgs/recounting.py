"""Everything that follows from an org's events, computed anew by ingest: asking for it, and how far it is."""

from datetime import datetime

from shared.admin.context import Context
from shared.admin.operation import Nothing, ResultModel, operation

# One that is under way goes on.
ASK = """
    INSERT INTO recounts AS r (org_id, asked_at) VALUES ($1, $2)
    ON CONFLICT (org_id) DO UPDATE
    SET asked_at = excluded.asked_at, days = NULL, total = NULL, tried_at = NULL, ended_at = NULL
    WHERE r.ended_at IS NOT NULL
"""
SELECT = """
    SELECT asked_at, total AS days, total - cardinality(days) AS done, ended_at FROM recounts WHERE org_id = $1
"""


class Recount(ResultModel):
    """`asked_at` null: nobody has asked. Of the `days` of sending so many are `done`; null: not begun. After the last
    day orders and rollups are counted, until `ended_at`."""

    asked_at: datetime | None = None
    days: int | None = None
    done: int | None = None
    ended_at: datetime | None = None


@operation(
    "orgs.recount", "POST", "/recount", "editor",
    "Have all emails, orders and counts of the org computed anew from its events.",
)  # fmt: skip
async def recount(context: Context, _: Nothing) -> Recount:
    """The ingest service does it, a day at a time. Asking again before it has ended changes nothing."""
    await context.connection.execute(ASK, context.org_id, context.now)
    return await _shown(context)


@operation("orgs.recounting", "GET", "/recount", "viewer", "Show how far that is.")
async def progress(context: Context, _: Nothing) -> Recount:
    return await _shown(context)


async def _shown(context: Context) -> Recount:
    row = await context.connection.fetchrow(SELECT, context.org_id)
    return Recount(**row) if row is not None else Recount()
