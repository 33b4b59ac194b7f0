"""Where an org's records go, and whether that place can be used."""

from datetime import datetime
from functools import partial
from typing import Literal
from uuid import UUID

import asyncpg
from pydantic import Field, SecretStr

from shared import exports as ledger
from shared.admin.context import Asking, Context
from shared.admin.errors import Conflict, Next, NotFound, Refused
from shared.admin.exports.faults import wrong_in_access, wrong_in_prefix
from shared.admin.exports.following import follow, hold_target
from shared.admin.operation import AskedModel, Nothing, ResultModel, operation, operation_after
from shared.export_access import Encryption
from shared.exports import Layout, Record
from shared.messaging.topology import PROBE_TARGET
from shared.schemas.jobs import ProbeTargetJob
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
Cadence = Literal["daily", "hourly"]
MoreTable = Literal["variants", "outcomes"]
"""What is exported beside the record where somebody asks for it."""
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


class TargetSaid(Target):
    """`anew`: hours and tables that were exported and are due once more, as exports go to another place now; what lies
    in the old one stays there."""

    anew: int


class TargetTested(ResultModel):
    """What happened, step by step. `heard`: false when no exporter answered in time."""

    heard: bool
    works: bool
    steps: list[ProbeStep]
    at: datetime


@operation(
    "exports.target", "PUT", "/exports/target", "owner",
    "Say where the records go; what was said before is replaced.", target=("bucket", "prefix"),
)  # fmt: skip
async def set_target(context: Context, asked: SetTarget) -> TargetSaid:
    if not asked.bucket:
        await _demand_folder(context, asked)
    _check(asked)
    sealed = None
    if asked.secret_key is not None:
        sealed = context.means.ring.seal(asked.secret_key.get_secret_value(), context.place("export"))
    before = await hold_target(context)
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
    anew = await follow(context, before)
    found = await target_of(context)
    if found is None:
        raise AssertionError("it was just stored")
    return TargetSaid(**dict(found), anew=anew)


async def _demand_folder(context: Context, asked: SetTarget) -> None:
    """Without a bucket, what is exported may be said of the installation's folder, where the org has it."""
    found = await target_of(context)
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
    found = await target_of(context)
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


async def target_of(context: Context) -> Target | None:
    """Where the org's records go; None: nobody said."""
    row = await context.connection.fetchrow(SELECT_TARGET, context.org_id)
    return None if row is None else Target(**dict(row))


def no_target() -> NotFound:
    """It is not known where exports go."""
    return NotFound("There is no export target yet", next=Next("exports.target", instead=True))
