"""Events of Klaviyo's API from before a source was added: days that are asked for, and how far they are."""

from datetime import date, datetime
from typing import Final
from uuid import UUID

from pydantic import Field

from shared.admin.context import Context
from shared.admin.errors import Conflict, Next, Refused
from shared.admin.operation import ResultModel, operation
from shared.admin.sources.sources import LIST_NOW, OneSource, kind_of, source_id_of
from shared.db.pool import Row
from shared.event_windows import asked_name, days_of

MOST_DAYS: Final = 1100  # each is a window that every listing shows

SELECT_ASKED = "SELECT asked_at FROM event_backfills WHERE source_id = $1 AND since = $2 AND until = $3"
ASK = """
    INSERT INTO event_backfills (source_id, org_id, since, until, asked_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (source_id, since, until) DO UPDATE SET asked_at = excluded.asked_at
"""
# Days whose window waits for the next listing have no row yet.
SELECT_PROGRESS = """
    SELECT count(*) FILTER (WHERE state = 'done')::int AS done,
        count(*) FILTER (WHERE state IN ('held', 'failed'))::int AS troubled,
        count(*) FILTER (WHERE state = 'loading')::int AS loading,
        coalesce(sum(CASE WHEN state = 'loading' THEN got_rows ELSE rows END), 0)::bigint AS rows,
        coalesce(sum(fresh), 0)::bigint AS fresh,
        (array_agg(path || ': ' || error ORDER BY path) FILTER (WHERE state IN ('held', 'failed')))[1] AS trouble
    FROM ingest_files WHERE source_id = $1 AND path = ANY ($2::text[])
"""
SELECT_TROUBLE = "SELECT last_error, last_error_at FROM sources WHERE source_id = $1"


class AskedDays(OneSource):
    """Days in UTC from `since` up to `until`, which is exclusive."""

    since: date
    until: date = Field(description="Exclusive; at most today, which is read by itself.")


class Backfilled(ResultModel):
    """`changed` false: the same days were asked for before and are not all read yet; that goes on."""

    source_id: UUID
    since: date
    until: date
    asked_at: datetime
    changed: bool


class Backfilling(ResultModel):
    """Of the `days`, so many are `done`, held or failed (`troubled`), or `loading`. `rows`: read so far; `fresh`: those
    of them that were not known. `trouble`: of the first day in trouble, else of the source since it was asked."""

    asked_at: datetime | None
    days: int
    done: int
    troubled: int
    loading: int
    rows: int
    fresh: int
    trouble: str | None


@operation(
    "sources.backfill", "POST", "/sources/{name}/backfill", "editor",
    "Have events of past days read from Klaviyo's API; days that are half read go on.",
)  # fmt: skip
async def backfill(context: Context, asked: AskedDays) -> Backfilled:
    """The ledger of windows is the state: whoever asks for the same days again before all are read changes nothing."""
    source_id = await _source(context, asked)
    _demand_past_days(asked, context.now.date())
    row = await context.connection.fetchrow(SELECT_ASKED, source_id, asked.since, asked.until)
    if row is not None and not await _finished(context, source_id, asked, row["asked_at"]):
        at: datetime = row["asked_at"]
        return Backfilled(source_id=source_id, since=asked.since, until=asked.until, asked_at=at, changed=False)
    at = context.now.replace(microsecond=0)
    await context.connection.execute(ASK, source_id, context.org_id, asked.since, asked.until, at)
    if await context.connection.execute(LIST_NOW, source_id, False, context.now) == "UPDATE 0":
        raise Conflict(f"Source {asked.name!r} is switched off", next=Next("sources.set", (asked.name,)))
    return Backfilled(source_id=source_id, since=asked.since, until=asked.until, asked_at=at, changed=True)


@operation(
    "sources.backfilling", "GET", "/sources/{name}/backfill", "viewer",
    "Show how far the days are that were asked for.",
)  # fmt: skip
async def progress(context: Context, asked: AskedDays) -> Backfilling:
    source_id = await _source(context, asked)
    days = (asked.until - asked.since).days
    at = await context.connection.fetchval(SELECT_ASKED, source_id, asked.since, asked.until)
    if at is None:
        return Backfilling(
            asked_at=None, days=days, done=0, troubled=0, loading=0, rows=0, fresh=0, trouble=None
        )  # fmt: skip
    found = dict(await _read(context, source_id, asked, at))
    if found["trouble"] is None:
        trouble = await context.connection.fetchrow(SELECT_TROUBLE, source_id)
        if trouble is not None and trouble["last_error_at"] is not None and trouble["last_error_at"] >= at:
            found["trouble"] = trouble["last_error"]
    return Backfilling(asked_at=at, days=days, **found)


async def _source(context: Context, asked: OneSource) -> UUID:
    source_id = await source_id_of(context.connection, context.org_id, asked.name)
    if (await kind_of(context.connection, source_id))[0] != "klaviyo":
        raise Refused(
            "is no source of Klaviyo's API; files of the past are put into its folder, or read again with a rescan",
            field="name",
        )
    return source_id


def _demand_past_days(asked: AskedDays, today: date) -> None:
    if asked.until <= asked.since:
        raise Refused(f"{asked.until} is not after {asked.since}; it is exclusive", field="until")
    if asked.until > today:
        raise Refused(f"{asked.until} is after today, {today}, whose events are read by themselves", field="until")
    if (asked.until - asked.since).days > MOST_DAYS:
        raise Refused(f"are more than {MOST_DAYS} days; ask for them in parts", field="since")


async def _finished(context: Context, source_id: UUID, asked: AskedDays, at: datetime) -> bool:
    found = await _read(context, source_id, asked, at)
    return bool(found["done"] >= (asked.until - asked.since).days)


async def _read(context: Context, source_id: UUID, asked: AskedDays, at: datetime) -> Row:
    paths = [asked_name(day, at) for day in days_of(asked.since, asked.until)]
    (row,) = await context.connection.fetch(SELECT_PROGRESS, source_id, paths)
    return row
