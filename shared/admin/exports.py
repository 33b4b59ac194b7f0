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
from shared.admin.export_faults import wrong_in_access, wrong_in_prefix
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation, operation_after
from shared.export_access import Encryption
from shared.exports import HOUR, UNPUBLISHED_AFTER, VARIANTS_HOUR, Layout, Record, Table, hours_between, publish_hours
from shared.messaging.topology import PROBE_TARGET
from shared.schemas.jobs import ProbeTargetJob, hour_of
from shared.schemas.probes import Probed, ProbeStep

UPSERT_TARGET = """
    INSERT INTO export_targets (org_id, bucket, prefix, endpoint_url, region, access_key, sealed_secret, role_arn,
                                cadence, created_at, updated_at, record, tables, layout, success_file, bucket_owner,
                                encryption, kms_key_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, $13, $14, $15, $16, $17)
    ON CONFLICT (org_id) DO UPDATE SET
        bucket = excluded.bucket, prefix = excluded.prefix, endpoint_url = excluded.endpoint_url,
        region = excluded.region, access_key = excluded.access_key, sealed_secret = excluded.sealed_secret,
        role_arn = excluded.role_arn, cadence = excluded.cadence, bucket_owner = excluded.bucket_owner,
        external_id = CASE WHEN excluded.role_arn = export_targets.role_arn THEN export_targets.external_id END,
        encryption = excluded.encryption, kms_key_id = excluded.kms_key_id,
        record = excluded.record, tables = excluded.tables, layout = excluded.layout,
        success_file = excluded.success_file, updated_at = excluded.updated_at
"""
SELECT_TARGET = """
    SELECT t.bucket, t.prefix, t.endpoint_url, t.region, t.access_key, t.role_arn, t.bucket_owner, t.encryption,
           t.kms_key_id, coalesce(t.external_id, o.export_external_id) AS external_id, t.cadence, t.record, t.tables,
           t.layout, t.success_file, t.enabled, t.switched_at, t.updated_at
    FROM export_targets t JOIN orgs o USING (org_id) WHERE t.org_id = $1
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
MoreTable = Literal["variants", "outcomes"]
"""What is exported beside the record where somebody asks for it."""
HourTable = Literal["generations", "outcomes"]
"""What is exported by hours; the table of variants is one object."""
TAKEN = "this bucket and prefix, or one around or below it, are in use already; choose another prefix"
OWNER_SAYS = "The AWS account that the bucket must belong to, 12 digits; null: the role's, without one anybody's."
ENCRYPTION_SAYS = (
    "How objects are encrypted at rest: as the bucket says, with keys of S3 (s3), or with one of KMS (kms)."
)
RECORD_SAYS = "analyst: also ids, propensity, decision and outcome, and control rows. Of hours exported from now on."

PROBE_WAIT_S = 20.0
"""Real seconds that somebody waits for the exporter to try the bucket, which itself gives up after 15."""


class SetTarget(AskedModel):
    """Any S3 server; without a key the exporter's own identity is used, with a role it assumes that first, by the
    org's external id."""

    bucket: str = Field(description="Empty: the folder of the installation, for an org that has it.")
    prefix: str = Field("", description="In front of YYYY/MM/DD/HH; empty: the bucket's root.")
    endpoint_url: str | None = Field(None, description="Null: AWS.")
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = Field(None, description="Of the access key; stored sealed.")
    role_arn: str | None = None
    bucket_owner: str | None = Field(None, description=OWNER_SAYS)
    encryption: Encryption = Field("bucket", description=ENCRYPTION_SAYS)
    kms_key_id: str | None = Field(None, description="ARN of that key; only with the encryption kms.")
    cadence: Cadence = "daily"
    record: Record = Field("page", description=RECORD_SAYS)
    tables: list[MoreTable] = Field([], description="Exported beside the record, below `_tables/`.")
    layout: Layout = Field("plain", description="hive: year=2026/month=11/day=23/hour=10 in place of 2026/11/23/10.")
    success_file: bool = Field(False, description="Put an empty _SUCCESS into each hour's folder.")


class Target(ResultModel):
    """The target without its secret. `bucket` empty: the folder of the installation. `external_id`: ours, which a role
    of the customer's demands. `switched_at`: when exports were last switched off or on."""

    bucket: str
    prefix: str
    endpoint_url: str | None
    region: str
    access_key: str | None
    role_arn: str | None
    external_id: str
    bucket_owner: str | None
    encryption: Encryption
    kms_key_id: str | None
    cadence: Cadence
    record: Record
    tables: list[MoreTable]
    layout: Layout
    success_file: bool
    enabled: bool
    switched_at: datetime | None
    updated_at: datetime

    @property
    def place(self) -> str:
        """For people."""
        if not self.bucket:
            return "the folder of this installation"
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


@operation(
    "exports.target", "PUT", "/exports/target", "owner",
    "Say where the records go; what was said before is replaced.", target=("bucket", "prefix"),
)  # fmt: skip
async def set_target(context: Context, asked: SetTarget) -> Target:
    if not asked.bucket:
        await _demand_folder(context, asked)
    _check(asked)
    sealed = None
    if asked.secret_key is not None:
        sealed = context.means.ring.seal(asked.secret_key.get_secret_value(), context.place("export"))
    try:
        await context.connection.execute(
            UPSERT_TARGET, context.org_id, asked.bucket, asked.prefix.strip("/"), asked.endpoint_url, asked.region,
            asked.access_key, sealed, asked.role_arn, asked.cadence, context.now, asked.record,
            sorted(set(asked.tables)), asked.layout, asked.success_file, asked.bucket_owner, asked.encryption,
            asked.kms_key_id,
        )  # fmt: skip
    except (asyncpg.UniqueViolationError, asyncpg.ExclusionViolationError):
        # Also where the other org is not ours to know: it would write among our hours, and we among its.
        raise Conflict(TAKEN, field="prefix") from None
    found = await _target(context)
    if found is None:
        raise AssertionError("it was just stored")
    return found


async def _demand_folder(context: Context, asked: SetTarget) -> None:
    """Without a bucket, what is exported may be said of the installation's folder, where the org has it."""
    found = await _target(context)
    if found is None or found.bucket:
        raise Refused("is empty", field="bucket")
    for name in ("prefix", "endpoint_url", "access_key", "secret_key", "role_arn", "bucket_owner", "kms_key_id"):
        if getattr(asked, name):
            raise Refused("belongs to a bucket; name that too", field=name)
    if asked.encryption != "bucket":
        raise Refused("belongs to a bucket; name that too", field="encryption")


def _check(asked: SetTarget) -> None:
    if wrong := wrong_in_prefix(asked.prefix.strip("/")):
        raise Refused(wrong, field="prefix")
    if asked.endpoint_url and not asked.endpoint_url.startswith(("https://", "http://")):
        raise Refused(f"{asked.endpoint_url!r} must begin with https:// or http://", field="endpoint_url")
    if wrong_access := wrong_in_access(asked):
        raise Refused(wrong_access[1], field=wrong_access[0])
    if (asked.access_key is None) != (asked.secret_key is None):
        missing = "access_key" if asked.access_key is None else "secret_key"
        raise Refused("an access key and its secret belong together; give both", field=missing)


@operation("exports.show", "GET", "/exports/target", "viewer", "Show where the records go; its secret stays sealed.")
async def show(context: Context, _: Nothing) -> Target:
    found = await _target(context)
    if found is None:
        raise no_target()
    return found


async def _ask(asking: Asking, _: Nothing) -> Probed | None:
    """Asked of the exporter, from where it will write later: this process may have no way to the bucket."""
    asker, probe_id = asking.means.need_asker(), asking.means.new_id()
    async with asking.means.database.transaction(asking.org_id) as connection:
        if not await connection.fetchval(ledger.SELECT_HAS_TARGET, asking.org_id):
            raise no_target()
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


async def _target(context: Context) -> Target | None:
    row = await context.connection.fetchrow(SELECT_TARGET, context.org_id)
    return None if row is None else Target(**dict(row))


def no_target() -> NotFound:
    """It is not known where exports go."""
    return NotFound("There is no export target yet", next=Next("exports.target", instead=True))
