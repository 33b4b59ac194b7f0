"""What a changed target means for hours that were exported before."""

from shared.admin.context import Context
from shared.admin.hold import hold_events

HOLD_TARGET = "SELECT tables FROM export_targets WHERE org_id = $1 FOR UPDATE"
# In one order, as everywhere.
HOLD_HOURS = "SELECT FROM export_hours WHERE org_id = $1 ORDER BY hour, table_name FOR UPDATE"

# As the exporter asks; the table of variants has no day.
_IS_GONE = """
    e.table_name <> 'variants' AND (
        EXISTS (SELECT FROM dropped_days d WHERE d.day = (e.hour AT TIME ZONE 'UTC')::date)
        OR e.rows > 0 AND NOT generations_kept((e.hour AT TIME ZONE 'UTC')::date))
"""
# While a table was not asked for, nothing was marked.
MARK_TABLES = f"""
    UPDATE export_hours e SET dirty_seq = e.dirty_seq + 1, due_at = $2,
        reason = CASE WHEN e.dirty_seq > e.exported_seq THEN e.reason ELSE 'dirty' END,
        state = CASE WHEN e.state = 'exporting' THEN e.state ELSE 'pending' END
    WHERE e.org_id = $1 AND e.table_name = ANY ($3::text[]) AND NOT ({_IS_GONE})
"""  # noqa: S608 - our own words


async def hold_target(context: Context) -> frozenset[str] | None:
    """The tables that are exported, until the commit; None: there is no target yet."""
    tables = await context.connection.fetchval(HOLD_TARGET, context.org_id)
    return None if tables is None else frozenset(tables)


async def follow(context: Context, before: frozenset[str] | None) -> None:
    """Bring the ledger in line with what is said now."""
    now = await hold_target(context) or frozenset()
    came_in = now - (before or frozenset())
    if "outcomes" in came_in:
        # A file that is being brought in marks nothing: it began while nobody asked for them.
        await hold_events(context)
    if before is not None and came_in:
        await context.connection.execute(HOLD_HOURS, context.org_id)
        await context.connection.execute(MARK_TABLES, context.org_id, context.now, sorted(came_in))
