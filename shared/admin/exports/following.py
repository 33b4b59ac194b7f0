"""What a changed target means for hours that were exported before: the ledger speaks of one place and its tables."""

from dataclasses import dataclass

from shared.admin.context import Context
from shared.admin.hold import hold_events

# Whoever claims an hour holds the target too: a claim comes before this and is seen below, or knows the new target.
# Endpoints of AWS are one place, however they are written.
HOLD_TARGET = """
    SELECT tables, export_place(bucket, prefix, endpoint_url)::text AS place FROM export_targets WHERE org_id = $1
    FOR UPDATE
"""
# Who drops days of generations looks for hours that are due with the table in hand.
HOLD_DAYS = "LOCK TABLE ONLY generations IN ACCESS SHARE MODE"
# In one order, as everywhere.
HOLD_HOURS = "SELECT FROM export_hours WHERE org_id = $1 ORDER BY hour, table_name FOR UPDATE"

# As the exporter asks; the table of variants has no day.
_IS_GONE = """
    e.table_name <> 'variants' AND (
        EXISTS (SELECT FROM dropped_days d WHERE d.day = (e.hour AT TIME ZONE 'UTC')::date)
        OR e.rows > 0 AND NOT generations_kept((e.hour AT TIME ZONE 'UTC')::date))
"""
FORGET_GONE = f"DELETE FROM export_hours e WHERE e.org_id = $1 AND {_IS_GONE}"  # noqa: S608 - our own words
# With a new epoch: whoever has an hour in hand writes it into the old place, and must not settle it for the new one.
# Rows that were deleted would count their epochs from the beginning. What is exported no more has nothing to do. That
# an hour was exported once stays, for its day is kept by it.
BEGIN_ANEW = """
    WITH anew AS (
        UPDATE export_hours e SET epoch = e.epoch + 1, lease_until = NULL, state = 'pending', reason = 'schedule',
            due_at = $2, dirty_seq = e.dirty_seq + 1,
            exported_seq = CASE WHEN e.table_name = ANY ($3::text[]) THEN e.exported_seq ELSE e.dirty_seq + 1 END,
            rows = NULL, bytes = NULL, sha256 = NULL, etag = NULL, revision = NULL, schema_version = NULL,
            people_deleted = 0, error = NULL
        WHERE e.org_id = $1 RETURNING e.dirty_seq > e.exported_seq AS is_due
    )
    SELECT count(*) FILTER (WHERE is_due) FROM anew
"""
# While a table was not asked for, nothing was marked.
MARK_TABLES = f"""
    UPDATE export_hours e SET dirty_seq = e.dirty_seq + 1, due_at = $2,
        reason = CASE WHEN e.dirty_seq > e.exported_seq THEN e.reason ELSE 'dirty' END,
        state = CASE WHEN e.state = 'exporting' THEN e.state ELSE 'pending' END
    WHERE e.org_id = $1 AND e.table_name = ANY ($3::text[]) AND NOT ({_IS_GONE})
"""  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True)
class Said:
    """Of a target, what the ledger depends on. `place`: None is the folder of the installation."""

    tables: frozenset[str]
    place: str | None


async def hold_target(context: Context) -> Said | None:
    """What is said of the target, until the commit; None: there is none yet."""
    row = await context.connection.fetchrow(HOLD_TARGET, context.org_id)
    return None if row is None else Said(frozenset({"generations", *row["tables"]}), row["place"])


async def follow(context: Context, before: Said | None) -> int:
    """Bring the ledger in line with what is said now; how many exports are due anew, in another place."""
    now = await hold_target(context)
    if now is None:
        return 0
    came_in = now.tables - (before.tables if before is not None else frozenset())
    if "outcomes" in came_in:
        # A file that is being brought in marks nothing: it began while nobody asked for them.
        await hold_events(context)
    if before is None:
        return 0
    await context.connection.execute(HOLD_DAYS)
    await context.connection.execute(HOLD_HOURS, context.org_id)
    if now.place != before.place:
        await context.connection.execute(FORGET_GONE, context.org_id)
        anew: int = await context.connection.fetchval(BEGIN_ANEW, context.org_id, context.now, sorted(now.tables))
        return anew
    if came_in:
        await context.connection.execute(MARK_TABLES, context.org_id, context.now, sorted(came_in))
    return 0
