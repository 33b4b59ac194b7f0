"""Where an org's records go, what became of each hour, and sending a range of hours there again."""

from datetime import datetime
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from pydantic import AwareDatetime, Field, SecretStr

from shared import exports as ledger
from shared.admin.context import Asking, Context
from shared.admin.errors import Conflict, Next, NotFound, Refused
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation, operation_after
from shared.exports import HOUR, UNPUBLISHED_AFTER, hours_between, publish_hours
from shared.messaging.topology import PROBE_TARGET
from shared.schemas.jobs import ProbeTargetJob, hour_of
from shared.schemas.probes import Probed, ProbeStep

UPSERT_TARGET = """
    INSERT INTO export_targets (org_id, bucket, prefix, endpoint_url, region, access_key, sealed_secret, role_arn,
                                external_id, cadence, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
    ON CONFLICT (org_id) DO UPDATE SET
        bucket = excluded.bucket, prefix = excluded.prefix, endpoint_url = excluded.endpoint_url,
        region = excluded.region, access_key = excluded.access_key, sealed_secret = excluded.sealed_secret,
        role_arn = excluded.role_arn, external_id = excluded.external_id, cadence = excluded.cadence,
        updated_at = excluded.updated_at
"""
SELECT_TARGET = """
    SELECT bucket, prefix, endpoint_url, region, access_key, role_arn, external_id, cadence, enabled, updated_at
    FROM export_targets WHERE org_id = $1
"""
SELECT_HOURS = """
    SELECT hour, CASE WHEN dirty_seq > exported_seq AND state = 'exported' THEN 'pending' ELSE state END AS state,
           reason, rows, bytes, revision, exported_at, nullif(due_at, '-infinity') AS due_at, error
    FROM export_hours
    WHERE org_id = $1 AND table_name = 'generations' AND ($3::timestamptz IS NULL OR hour < $3)
    ORDER BY hour DESC LIMIT $2
"""
_TABLE: Literal["generations"] = "generations"
Cadence = Literal["daily", "hourly"]

PROBE_WAIT_S = 20.0
"""Real seconds that somebody waits for the exporter to try the bucket, which itself gives up after 15."""


class SetTarget(AskedModel):
    """Any S3 server; without a key the exporter's own identity is used, with a role it assumes that first."""

    bucket: str
    prefix: str = Field("", description="In front of YYYY/MM/DD/HH; empty: the bucket's root.")
    endpoint_url: str | None = Field(None, description="Null: AWS.")
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = Field(None, description="Of the access key; stored sealed.")
    role_arn: str | None = None
    external_id: str | None = None
    cadence: Cadence = "daily"


class Target(ResultModel):
    """The target without its secret."""

    bucket: str
    prefix: str
    endpoint_url: str | None
    region: str
    access_key: str | None
    role_arn: str | None
    external_id: str | None
    cadence: Cadence
    enabled: bool
    updated_at: datetime

    @property
    def place(self) -> str:
        """For people."""
        return f"s3://{'/'.join(filter(None, (self.bucket, self.prefix)))}"


class TargetTested(ResultModel):
    """What happened, step by step. `heard`: false when no exporter answered in time."""

    heard: bool
    works: bool
    steps: list[ProbeStep]
    at: datetime


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
    """The hours that [start, end) touches."""

    start: AwareDatetime
    end: AwareDatetime


class Backfill(ResultModel):
    """The hours that are exported again, in order."""

    hours: list[datetime]


class Progress(ResultModel):
    """How far the hours of a range are, in hours; `errors`: the newest, at most ten."""

    asked: int
    exported: int
    blocked: int
    rows: int
    bytes: int
    errors: dict[datetime, str]


@operation(
    "exports.target", "PUT", "/exports/target", "owner",
    "Say where the records go; what was said before is replaced.", target=("bucket", "prefix"),
)  # fmt: skip
async def set_target(context: Context, asked: SetTarget) -> Target:
    _check(asked)
    sealed = None
    if asked.secret_key is not None:
        sealed = context.means.ring.seal(asked.secret_key.get_secret_value(), context.place("export"))
    try:
        await context.connection.execute(
            UPSERT_TARGET, context.org_id, asked.bucket, asked.prefix.strip("/"), asked.endpoint_url, asked.region,
            asked.access_key, sealed, asked.role_arn, asked.external_id, asked.cadence, context.now,
        )  # fmt: skip
    except asyncpg.UniqueViolationError:
        # Also where the other org is not ours to know: it would overwrite our hours, and we its.
        raise Conflict("this bucket and prefix are in use already; choose another prefix", field="prefix") from None
    found = await _target(context)
    if found is None:
        raise AssertionError("it was just stored")
    return found


def _check(asked: SetTarget) -> None:
    if not asked.bucket:
        raise Refused("is empty", field="bucket")
    if asked.endpoint_url and not asked.endpoint_url.startswith(("https://", "http://")):
        raise Refused(f"{asked.endpoint_url!r} must begin with https:// or http://", field="endpoint_url")
    if asked.external_id and not asked.role_arn:
        raise Refused("belongs to a role; give role_arn too", field="external_id")
    if (asked.access_key is None) != (asked.secret_key is None):
        missing = "access_key" if asked.access_key is None else "secret_key"
        raise Refused("an access key and its secret belong together; give both", field=missing)


@operation("exports.show", "GET", "/exports/target", "viewer", "Show where the records go; its secret stays sealed.")
async def show(context: Context, _: Nothing) -> Target:
    found = await _target(context)
    if found is None:
        raise _no_target()
    return found


async def _ask(asking: Asking, _: Nothing) -> Probed | None:
    """Asked of the exporter, from where it will write later: this process may have no way to the bucket."""
    asker, probe_id = asking.means.need_asker(), asking.means.new_id()
    async with asking.means.database.transaction(asking.org_id) as connection:
        if not await connection.fetchval(ledger.SELECT_HAS_TARGET, asking.org_id):
            raise _no_target()
    job_of = partial(_probe_job, asking.org_id, probe_id)
    answer = await asker.ask(PROBE_TARGET, asking.org_id, job_of, str(probe_id), wait_s=PROBE_WAIT_S)
    return None if answer is None else Probed.model_validate_json(answer)


def _probe_job(org_id: UUID, probe_id: UUID, reply_to: str) -> ProbeTargetJob:
    return ProbeTargetJob(org_id=org_id, probe_id=probe_id, reply_to=reply_to)


@operation_after(
    _ask, "exports.test", "POST", "/exports/target/test", "editor",
    "Have the exporter write, read and remove a small object in the bucket now.", changes=False,
)  # fmt: skip
async def try_target(context: Context, _: Nothing, probed: Probed | None) -> TargetTested:
    steps = probed.steps if probed is not None else []
    return TargetTested(
        heard=probed is not None, works=bool(steps) and all(step.ok for step in steps), steps=steps, at=context.now
    )


@operation("exports.hours", "GET", "/exports/hours", "viewer", "List hours: what was exported, and what went wrong.")
async def list_hours(context: Context, asked: AskedHours) -> Hours:
    rows = await context.connection.fetch(SELECT_HOURS, context.org_id, asked.limit, asked.before)
    return Hours(target=await _target(context), hours=[Hour(**dict(row)) for row in rows])


@operation(
    "exports.backfill", "POST", "/exports/backfill", "editor",
    "Export every hour of a range again; what is there is overwritten.", target=("start", "end"),
)  # fmt: skip
async def backfill(context: Context, asked: Range) -> Backfill:
    """Marked in the transaction, published after it: what is marked and never published, the scheduler takes."""
    connection, org_id, publisher = context.connection, context.org_id, context.means.need_publisher()
    if asked.end <= asked.start:
        raise Refused("is not after the start; it is exclusive", field="end")
    if not await connection.fetchval(ledger.SELECT_HAS_TARGET, org_id):
        raise _no_target()
    first: datetime | None = await connection.fetchval(ledger.SELECT_FIRST, org_id, _TABLE)
    end = min(asked.end, hour_of(context.now) + HOUR)
    hours = [] if first is None else hours_between(max(asked.start, hour_of(first)), end)
    if not hours:
        raise Refused(
            f"No hour from {asked.start:%Y-%m-%d %H:%M} to {asked.end:%Y-%m-%d %H:%M} UTC holds anything yet",
            code="nothing_to_export",
        )
    due_at = context.now + UNPUBLISHED_AFTER
    await connection.execute(ledger.MARK_HOURS, org_id, _TABLE, hours, "backfill", due_at)

    async def publish() -> None:
        await publish_hours(publisher, org_id, hours)

    context.after_commit(publish)
    return Backfill(hours=hours)


@operation("exports.progress", "GET", "/exports/progress", "viewer", "Tell how far the hours of a range are.")
async def progress(context: Context, asked: Range) -> Progress:
    args = (context.org_id, _TABLE, asked.start, asked.end)
    (row,) = await context.connection.fetch(ledger.SELECT_PROGRESS, *args)
    errors = await context.connection.fetch(ledger.SELECT_ERRORS, *args)
    return Progress(**dict(row), errors={error["hour"]: error["error"] for error in errors})


async def _target(context: Context) -> Target | None:
    row = await context.connection.fetchrow(SELECT_TARGET, context.org_id)
    return None if row is None else Target(**dict(row))


def _no_target() -> NotFound:
    return NotFound("There is no export target yet", next=Next("exports.target", instead=True))
