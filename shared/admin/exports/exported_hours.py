"""What became of each hour of an org's exports, and sending a range of hours there again."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from shared import exports as ledger
from shared.admin.context import Context
from shared.admin.errors import Conflict, Next, Refused
from shared.admin.exports.exports import Target, no_target, target_of
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.exports import HOUR, UNPUBLISHED_AFTER, VARIANTS_HOUR, Table, hours_between, publish_hours
from shared.schemas.jobs import hour_of

SELECT_HOURS = """
    SELECT hour, CASE WHEN dirty_seq > exported_seq AND state = 'exported' THEN 'pending' ELSE state END AS state,
           reason, rows, bytes, revision, exported_at, nullif(due_at, '-infinity') AS due_at, error
    FROM export_hours
    WHERE org_id = $1 AND table_name = 'generations' AND ($3::timestamptz IS NULL OR hour < $3)
    ORDER BY hour DESC LIMIT $2
"""
_TABLE: Literal["generations"] = "generations"
HourTable = Literal["generations", "outcomes"]
"""What is exported by hours; the table of variants is one object."""


class AskedHours(AskedModel):
    """The newest so many, of those before a moment."""

    limit: Annotated[int, Field(ge=1, le=5000)] = 24
    before: AwareDatetime | None = None


class Hour(ResultModel):
    """One UTC hour. `due_at`: when it is exported (again) while it is not; null: now."""

    hour: datetime
    state: Literal["pending", "exporting", "exported", "blocked"]
    reason: str
    rows: int | None
    bytes: int | None
    revision: int | None
    exported_at: datetime | None
    due_at: datetime | None
    error: str | None


class Hours(ResultModel):
    """Newest first. `target`: null while it is not known where exports go."""

    target: Target | None
    hours: list[Hour]


class Range(AskedModel):
    """The hours that [start, end) touches, of all tables that the org exports by hours."""

    start: AwareDatetime
    end: AwareDatetime


class AskedBackfill(Range):
    """`resume`: only what still waits, as after a backfill that was interrupted; what is exported stays."""

    resume: bool = False


class Backfill(ResultModel):
    """The hours that are exported again, in order; `exports`: so many objects, over all `tables`."""

    hours: list[datetime]
    tables: list[HourTable]
    exports: int
    changed: bool


class Preview(ResultModel):
    """What a backfill would do. `objects`: that are there now and are overwritten, with their rows and bytes; `gone`:
    those whose rows we no longer keep, which stay as they are; `waiting`: of the exports, those that are asked for
    already."""

    hours: int
    tables: list[HourTable]
    exports: int
    objects: int
    rows: int
    bytes: int
    gone: int
    waiting: int


class Progress(ResultModel):
    """How far the exports of a range are, one for each hour and table; `errors`: the newest, at most ten."""

    asked: int
    exported: int
    blocked: int
    rows: int
    bytes: int
    errors: dict[datetime, str]


@operation("exports.hours", "GET", "/exports/hours", "viewer", "List hours: what was exported, and what went wrong.")
async def list_hours(context: Context, asked: AskedHours) -> Hours:
    rows = await context.connection.fetch(SELECT_HOURS, context.org_id, asked.limit, asked.before)
    return Hours(target=await target_of(context), hours=[Hour(**dict(row)) for row in rows])


@operation(
    "exports.backfill", "POST", "/exports/backfill", "editor",
    "Export every hour of a range again; what is there is overwritten.", target=("start", "end"),
)  # fmt: skip
async def backfill(context: Context, asked: AskedBackfill) -> Backfill:
    """Marked in the transaction, published after it: what is marked and never published, the scheduler takes."""
    connection, org_id, publisher = context.connection, context.org_id, context.means.need_publisher()
    tables, hours = await _wanted(context, asked)
    if await connection.fetchval(ledger.SELECT_IS_OFF, org_id):
        raise Conflict(
            "Exports are off; switch them on first", code="exports_are_off", next=Next("exports.on", instead=True)
        )
    due_at = context.now + UNPUBLISHED_AFTER
    if asked.resume:
        rows = await connection.fetch(ledger.RESUME_HOURS, org_id, tables, hours[0], hours[-1] + HOUR, due_at)
        marked: list[tuple[Table, datetime]] = sorted((row["table_name"], row["hour"]) for row in rows)
    else:
        for table in tables:
            await connection.execute(ledger.MARK_HOURS, org_id, table, hours, "backfill", due_at)
        if await connection.fetchval(ledger.SELECT_HAS_TABLE, org_id, "variants"):
            await connection.execute(ledger.MARK_HOURS, org_id, "variants", [VARIANTS_HOUR], "backfill", context.now)
        marked = [(table, hour) for table in tables for hour in hours]

    async def publish() -> None:
        for table in tables:
            await publish_hours(publisher, org_id, [hour for of, hour in marked if of == table], table=table)

    context.after_commit(publish)
    return Backfill(
        hours=sorted({hour for _, hour in marked}), tables=tables, exports=len(marked), changed=bool(marked)
    )


@operation(
    "exports.preview", "GET", "/exports/backfill", "viewer",
    "Count what a backfill of a range would export, and what it would overwrite.",
)  # fmt: skip
async def preview(context: Context, asked: Range) -> Preview:
    tables, hours = await _wanted(context, asked)
    args = (context.org_id, tables, hours[0], hours[-1] + HOUR)
    (row,) = await context.connection.fetch(ledger.SELECT_OVERWRITTEN, *args)
    return Preview(hours=len(hours), tables=tables, exports=len(hours) * len(tables), **dict(row))


async def _wanted(context: Context, asked: Range) -> tuple[list[HourTable], list[datetime]]:
    """The tables and the hours that a backfill is about. Raises AdminError when there is nothing to export."""
    connection, org_id = context.connection, context.org_id
    if asked.end <= asked.start:
        raise Refused("is not after the start; it is exclusive", field="end")
    if not await connection.fetchval(ledger.SELECT_HAS_TARGET, org_id):
        raise no_target()
    first: datetime | None = await connection.fetchval(ledger.SELECT_FIRST, org_id, _TABLE)
    end = min(asked.end, hour_of(context.now) + HOUR)
    hours = [] if first is None else hours_between(max(asked.start, hour_of(first)), end)
    if not hours:
        raise Refused(
            f"No hour from {asked.start:%Y-%m-%d %H:%M} to {asked.end:%Y-%m-%d %H:%M} UTC holds anything yet",
            code="nothing_to_export",
        )
    return await _tables(context), hours


async def _tables(context: Context) -> list[HourTable]:
    has_outcomes = await context.connection.fetchval(ledger.SELECT_HAS_TABLE, context.org_id, "outcomes")
    return ["generations", "outcomes"] if has_outcomes else ["generations"]


@operation("exports.progress", "GET", "/exports/progress", "viewer", "Tell how far the hours of a range are.")
async def progress(context: Context, asked: Range) -> Progress:
    args = (context.org_id, await _tables(context), asked.start, asked.end)
    (row,) = await context.connection.fetch(ledger.SELECT_PROGRESS, *args)
    errors = await context.connection.fetch(ledger.SELECT_ERRORS, *args)
    return Progress(**dict(row), errors={error["hour"]: error["error"] for error in errors})
