"""Doing the steps of a plan in one transaction, by the operations that do each of them alone, audit entries and all."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from shared.admin import audit
from shared.admin.config.file import ExportConfig, OrgConfig
from shared.admin.config.plan import (
    ArchiveTemplate,
    ArchiveVariant,
    PutAttributes,
    PutExport,
    PutSource,
    PutTemplate,
    PutVariant,
    Step,
)
from shared.admin.context import Context
from shared.admin.errors import Conflict, Refused
from shared.admin.exports import exports
from shared.admin.exports.following import follow, hold_target
from shared.admin.operation import Nothing, ResultModel
from shared.admin.orgs import content_rules, orgs
from shared.admin.run import read, within
from shared.admin.sources import sources
from shared.admin.templates import store as template_store
from shared.admin.templates.settings import SetState, set_state
from shared.admin.templates.templates import ImportTemplate, import_template
from shared.admin.variants.saving import SaveVariant, save
from shared.admin.variants.variants import Step as VariantStep
from shared.admin.variants.variants import archive
from shared.content.rules import OrgRules
from shared.content.served import serve
from shared.schemas.attributes import OrgAttributes
from shared.schemas.copy import Vars

# It is not tried before its key is there: setting the key gives it its first try.
INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, name, kind, host, port, username, path, pattern, host_key, bucket, region,
                         endpoint_url, access_key, poll_s, enabled, mapping, last_error, last_error_at, refused_at)
    VALUES ($1, $2, $3, $4, coalesce($5, ''), coalesce($6, 22), coalesce($7, ''), $8, $9, coalesce($10, ''),
            coalesce($11, ''), coalesce($12, ''), coalesce($13, ''), coalesce($14, ''), $15, $16,
            nullif($17, '{}'::jsonb), $18, CASE WHEN $18::text IS NOT NULL THEN $19::timestamptz END,
            CASE WHEN $18::text IS NOT NULL THEN $19::timestamptz END)
"""
# A secret belongs to its access key: another one waits for its own, and until then the exporter says so.
UPSERT_TARGET = """
    INSERT INTO export_targets (org_id, bucket, prefix, endpoint_url, region, access_key, sealed_secret, role_arn,
                                cadence, created_at, updated_at, record, tables, layout, success_file, bucket_owner,
                                encryption, kms_key_id)
    VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $6::text IS NULL THEN NULL ELSE '' END, $7, $8, $9, $9, $11, $12, $13,
        $14, $15, $16, $17)
    ON CONFLICT (org_id) DO UPDATE SET
        bucket = excluded.bucket, prefix = excluded.prefix, endpoint_url = excluded.endpoint_url,
        region = excluded.region, access_key = excluded.access_key, role_arn = excluded.role_arn,
        external_id = CASE WHEN excluded.role_arn = export_targets.role_arn THEN export_targets.external_id END,
        bucket_owner = excluded.bucket_owner, encryption = excluded.encryption, kms_key_id = excluded.kms_key_id,
        cadence = excluded.cadence, updated_at = excluded.updated_at,
        record = excluded.record, tables = excluded.tables, layout = excluded.layout,
        success_file = excluded.success_file,
        sealed_secret = CASE WHEN $10 THEN export_targets.sealed_secret ELSE excluded.sealed_secret END
"""
_KEYLESS = "Our private key is not set yet."
_SECRETLESS = "The secret of the access key is not set yet."


class _Made(ResultModel):
    """For the audit log."""

    source_id: UUID | None = None
    copy_id: UUID | None = None


async def do(context: Context, step: Step, texts: Mapping[tuple[str, str], Vars], *, review_required: bool) -> None:
    """One step. Raises AdminError: then nothing of the plan is stored."""
    match step.doing:
        case OrgConfig(name=name, time_zone=zone):
            if name is not None:
                await within(context, orgs.rename, orgs.Rename(name=name))
            if zone is not None:
                await within(context, orgs.set_zone, orgs.SetZone(time_zone=zone))
        case OrgRules() as rules:
            await within(context, content_rules.set_rules, content_rules.SetRules(rules=rules))
        case PutAttributes(definitions):
            await _set_attributes(context, definitions)
        case PutTemplate(file):
            await template_store.store_settings(context.connection, context.org_id, file, context.now)
            said = file.model_dump(mode="json", exclude={"variants"}, exclude_unset=True)
            await audit.remember(context, import_template, ImportTemplate(template=said), _Made())
        case PutVariant() as put:
            await _put_variant(context, put, texts, review_required=review_required)
        case PutSource() as put_source:
            await _put_source(context, put_source)
        case PutExport() as put_export:
            await _put_export(context, put_export)
        case ArchiveTemplate(template_id):
            await within(context, set_state, SetState(template_id=template_id, state="archived"))
        case ArchiveVariant(template_id, name):
            await within(context, archive, VariantStep(template_id=template_id, variant=name))


async def _set_attributes(context: Context, definitions: Mapping[str, object]) -> None:
    before = await within(context, content_rules.show_attributes, Nothing())
    wanted = OrgAttributes.model_validate({"time_zone": before.time_zone, "attributes": definitions})
    await within(context, content_rules.set_attributes, content_rules.SetAttributes(definitions=wanted))


async def _put_variant(
    context: Context, put: PutVariant, texts: Mapping[tuple[str, str], Vars], *, review_required: bool
) -> None:
    """What a file does to a variant, without its right to withdraw by saying nothing. Without required reviews an
    editor approves what the file approves; with them it goes into review."""
    connection, org_id, variant = context.connection, context.org_id, put.variant
    if put.move == "theme" and put.one is not None:
        await connection.execute(
            template_store.UPDATE_THEME, org_id, put.one.copy_id, variant.theme, context.now
        )  # fmt: skip
        copy_id = put.one.copy_id
    else:
        if put.move in ("restore", "withdraw") and not variant.approved:
            variant = variant.model_copy(update={"approved": False})
        served = texts.get((put.template_id, variant.name)) or Vars(
            variant.subject, variant.preheader, serve(variant.source).body
        )
        _, copy_id, _ = await template_store.store_variant(
            connection, org_id, put.template_id, variant, put.one, served, context.actor.name, context.now,
            review_required=review_required or not variant.approved,
        )  # fmt: skip
    said = {"subject": variant.subject, "preheader": variant.preheader, "theme": variant.theme}
    said |= {"mjml" if variant.mjml is not None else "body": variant.source}
    asked = SaveVariant(template_id=put.template_id, variant=variant.name, **said)
    await audit.remember(context, save, asked, _Made(copy_id=copy_id))


async def _put_source(context: Context, put: PutSource) -> None:
    one = put.source
    told = one.told()
    kind = told.pop("kind")
    asked = {"name": one.name, **{name: value for name, value in told.items() if value is not None}}
    if not put.is_new:
        source_id = await sources.source_id_of(context.connection, context.org_id, one.name)
        if (await sources.kind_of(context.connection, source_id))[0] != kind:
            raise Refused("a source stays of the kind that it is; give this one another name", field="kind")
        if kind == "s3":  # what the file does not say is taken away
            asked |= {"endpoint_url": one.endpoint_url or "", "access_key": one.access_key or ""}
        await within(context, sources.set_source, asked)
        return
    said = read(sources.set_source, asked)
    source_id = context.means.new_id()
    missing = _KEYLESS if kind == "sftp" else _SECRETLESS if one.access_key else None
    await context.connection.execute(
        INSERT_SOURCE, source_id, context.org_id, one.name, kind, told["host"], told["port"], told["user"], one.path,
        one.pattern, told["host_key"], told["bucket"], told["region"], told["endpoint_url"], told["access_key"],
        one.poll_s, one.enabled, one.mapping, missing, context.now,
    )  # fmt: skip
    await audit.remember(context, sources.set_source, said, _Made(source_id=source_id))


async def _put_export(context: Context, put: PutExport) -> None:
    one: ExportConfig = put.export
    before = await hold_target(context)
    try:
        await context.connection.execute(
            UPSERT_TARGET, context.org_id, one.bucket, one.prefix, one.endpoint_url, one.region, one.access_key,
            one.role_arn, one.cadence, context.now, put.keeps_secret, one.record, one.tables, one.layout,
            one.success_file, one.bucket_owner, one.encryption, one.kms_key_id,
        )  # fmt: skip
    except (asyncpg.UniqueViolationError, asyncpg.ExclusionViolationError):
        # Also where the other org is not ours to know: it would write among our hours, and we among its.
        raise Conflict(exports.TAKEN, field="export") from None
    except asyncpg.CheckViolationError as error:
        raise Refused(f"a value cannot be used ({error.constraint_name})", field="export") from None
    await follow(context, before)
    await audit.remember(context, exports.set_target, exports.SetTarget(**one.model_dump()), _Made())
