"""SQL of templates and variants. A changed text is a new version; versions are never edited."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from shared.db.pool import Connection
from shared.schemas.template_file import TemplateFile, VariantCopy
from shared.snippet import Control

UPSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, property_prefix, delay_s, send_window_s, flow_id,
                           treatment_action_id, control_action_id, control_subject, control_preheader, control_body,
                           policy, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
    ON CONFLICT (org_id, template_id) DO UPDATE SET
        name = excluded.name, state = excluded.state, property_prefix = excluded.property_prefix,
        delay_s = excluded.delay_s, send_window_s = excluded.send_window_s, flow_id = excluded.flow_id,
        treatment_action_id = excluded.treatment_action_id, control_action_id = excluded.control_action_id,
        control_subject = excluded.control_subject, control_preheader = excluded.control_preheader,
        control_body = excluded.control_body, policy = excluded.policy, updated_at = excluded.updated_at
    WHERE (templates.name, templates.state, templates.property_prefix, templates.delay_s, templates.send_window_s,
           templates.flow_id, templates.treatment_action_id, templates.control_action_id, templates.control_subject,
           templates.control_preheader, templates.control_body, templates.policy)
        IS DISTINCT FROM
          (excluded.name, excluded.state, excluded.property_prefix, excluded.delay_s, excluded.send_window_s,
           excluded.flow_id, excluded.treatment_action_id, excluded.control_action_id, excluded.control_subject,
           excluded.control_preheader, excluded.control_body, excluded.policy)
"""
SELECT_VARIANTS = """
    SELECT v.copy_id, v.name, v.theme, v.state, v.version, t.subject, t.preheader, t.body
    FROM variants v JOIN variant_versions t USING (copy_id, version)
    WHERE v.org_id = $1 AND v.template_id = $2
    ORDER BY v.created_at, v.name
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, theme, state, version, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)
"""
UPDATE_VARIANT = "UPDATE variants SET theme = $2, state = $3, version = $4, updated_at = $5 WHERE copy_id = $1"
ARCHIVE_VARIANTS = """
    UPDATE variants SET state = 'archived', updated_at = $4
    WHERE org_id = $1 AND template_id = $2 AND NOT (name = ANY ($3::text[])) AND state <> 'archived'
    RETURNING name
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
SELECT_TEMPLATES = """
    SELECT t.template_id, t.name, t.state, t.property_prefix, t.flow_id, t.treatment_action_id, t.stopped_at,
           t.stopped_reason, count(v.copy_id) FILTER (WHERE v.state = 'approved') AS approved
    FROM templates t LEFT JOIN variants v ON v.org_id = t.org_id AND v.template_id = t.template_id
    WHERE t.org_id = $1 GROUP BY t.org_id, t.template_id ORDER BY t.template_id
"""
SELECT_TEMPLATE = """
    SELECT property_prefix, flow_id, treatment_action_id, control_subject, control_preheader, control_body
    FROM templates WHERE org_id = $1 AND template_id = $2
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What an import did with one variant."""

    name: str
    copy_id: UUID
    what: str  # created, new version, unchanged, archived


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `snippet_changed`: an email with the earlier snippet would not show what it should."""

    changes: Sequence[Change]
    snippet_changed: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What a snippet needs of a template."""

    property_prefix: str
    flow_id: str | None
    treatment_action_id: str | None
    control: Control


async def import_template(connection: Connection, org_id: UUID, file: TemplateFile, at: datetime) -> Imported:
    """Make the stored template equal to the file, in the caller's transaction. Repeating changes nothing."""
    flow = file.flow
    before = await place_of(connection, org_id, file.template_id)
    await connection.execute(
        UPSERT_TEMPLATE, org_id, file.template_id, file.name, file.state, file.property_prefix, file.delay_s,
        file.send_window_s, flow and flow.flow_id, flow and flow.treatment_action_id, flow and flow.control_action_id,
        file.control.subject, file.control.preheader, file.control.body, file.policy.model_dump(exclude_unset=True), at,
    )  # fmt: skip
    stored = {row["name"]: row for row in await connection.fetch(SELECT_VARIANTS, org_id, file.template_id)}
    changes: list[Change] = []
    for variant in file.variants:
        state = "approved" if variant.approved else "draft"
        if (row := stored.get(variant.name)) is None:
            copy_id, version, what = uuid4(), 1, "created"
            await connection.execute(
                INSERT_VARIANT, org_id, copy_id, file.template_id, variant.name, variant.theme, state, at
            )
        else:
            same = (row["subject"], row["preheader"], row["body"]) == (variant.subject, variant.preheader, variant.body)
            copy_id, what = row["copy_id"], "unchanged" if same else "new version"
            version = row["version"] + (not same)
        if what != "unchanged":
            await _insert_version(connection, org_id, copy_id, version, variant, at)
        if row is not None and (row["theme"], row["state"], row["version"]) != (variant.theme, state, version):
            await connection.execute(UPDATE_VARIANT, copy_id, variant.theme, state, version, at)
        changes.append(Change(variant.name, copy_id, what))
    names = [variant.name for variant in file.variants]
    for row in await connection.fetch(ARCHIVE_VARIANTS, org_id, file.template_id, names, at):
        changes.append(Change(row["name"], stored[row["name"]]["copy_id"], "archived"))  # noqa: PERF401  # reads better
    after = await place_of(connection, org_id, file.template_id)
    return Imported(changes, snippet_changed=before is not None and before != after)


async def _insert_version(
    connection: Connection, org_id: UUID, copy_id: UUID, version: int, variant: VariantCopy, at: datetime
) -> None:
    await connection.execute(
        INSERT_VERSION, org_id, copy_id, version, variant.subject, variant.preheader, variant.body, at
    )


async def place_of(connection: Connection, org_id: UUID, template_id: str) -> Place | None:
    """Where a template lives and what its control says; None when there is no such template."""
    row = await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id)
    if row is None:
        return None
    control = Control(row["control_subject"], row["control_preheader"], row["control_body"])
    return Place(row["property_prefix"], row["flow_id"], row["treatment_action_id"], control)
