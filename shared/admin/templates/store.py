"""SQL of templates and variants. A changed text is a new version; versions are never edited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from shared.admin.variants import store as variant_store
from shared.content.lifecycle import Move, Standing, Written, touched, write
from shared.db.pool import Connection
from shared.schemas.attributes import stored as stored_attributes
from shared.schemas.conversions import stored as stored_conversions
from shared.schemas.copy import Vars
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
UPDATE_CONVERSIONS = """
    UPDATE templates SET conversions = $3, updated_at = $4
    WHERE org_id = $1 AND template_id = $2 AND conversions IS DISTINCT FROM $3
"""
UPDATE_CHOICE = """
    UPDATE templates SET attributes = $3, other_attrs = $4, split = $5, control_ratio = $6, split_salt = $7,
        control_share = $8, repeats = $9, updated_at = $10
    WHERE org_id = $1 AND template_id = $2
      AND (attributes::text, other_attrs, split, control_ratio, split_salt, control_share, repeats)
        IS DISTINCT FROM ($3::json::text, $4, $5, $6, $7, $8, $9)
"""
SELECT_VARIANTS = """
    SELECT v.copy_id, v.name, v.theme, v.state, v.version, t.subject
    FROM variants v JOIN variant_versions t USING (copy_id, version)
    WHERE v.org_id = $1 AND v.template_id = $2
    ORDER BY v.created_at, v.name
"""
UPDATE_THEME = "UPDATE variants SET theme = $3, updated_at = $4 WHERE org_id = $1 AND copy_id = $2"
UPDATE_REQUIRED = """
    UPDATE templates SET required_fields = $3
    WHERE org_id = $1 AND template_id = $2 AND required_fields IS DISTINCT FROM $3
"""
SELECT_TEMPLATES = """
    SELECT t.template_id, t.name, t.state, t.property_prefix, t.flow_id, t.treatment_action_id, t.stopped_at,
           t.stopped_reason, count(v.copy_id) FILTER (WHERE v.state = 'approved') AS approved
    FROM templates t LEFT JOIN variants v ON v.org_id = t.org_id AND v.template_id = t.template_id
    WHERE t.org_id = $1 GROUP BY t.org_id, t.template_id ORDER BY t.template_id
"""
SELECT_WHOLE = """
    SELECT t.template_id, t.name, t.state, t.property_prefix, t.delay_s, t.send_window_s, t.flow_id,
           t.treatment_action_id, t.control_action_id, t.control_subject, t.control_preheader, t.control_body, t.split,
           t.control_ratio, t.control_share, t.repeats AS repeat, t.policy, t.conversions, t.created_at, t.updated_at,
           (SELECT min(f.delay_s) FROM flow_messages f WHERE f.org_id = t.org_id AND f.flow_id = t.flow_id
                AND f.action_id = t.treatment_action_id) AS flow_delay_s
    FROM templates t WHERE t.org_id = $1 AND t.template_id = $2
"""
SELECT_TEMPLATE = """
    SELECT property_prefix, flow_id, treatment_action_id, control_subject, control_preheader, control_body, delay_s
    FROM templates WHERE org_id = $1 AND template_id = $2
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What an import did with one variant."""

    name: str
    copy_id: UUID
    what: str  # created, new version, unchanged, archived
    standing: str  # in words
    touched: Sequence[str]
    serves: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `snippet_changed`: an email with the earlier snippet would not show what it should."""

    changes: Sequence[Change]
    snippet_changed: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What a snippet and the set-up check need of a template."""

    property_prefix: str
    flow_id: str | None
    treatment_action_id: str | None
    control: Control
    delay_s: int | None


async def store_settings(connection: Connection, org_id: UUID, file: TemplateFile, at: datetime) -> None:
    """Make all but the variants of the stored template equal to the file. Repeating changes nothing."""
    flow = file.flow
    await connection.execute(
        UPSERT_TEMPLATE, org_id, file.template_id, file.name, file.state, file.property_prefix, file.delay_s,
        file.send_window_s, flow and flow.flow_id, flow and flow.treatment_action_id, flow and flow.control_action_id,
        file.control.subject, file.control.preheader, file.control.body, file.policy.model_dump(exclude_unset=True), at,
    )  # fmt: skip
    await connection.execute(
        UPDATE_CHOICE, org_id, file.template_id, stored_attributes(file.attributes), file.other_attrs,
        file.split.method, file.split.control_ratio, file.split.salt, file.control_share, file.repeat, at,
    )  # fmt: skip
    counted = stored_conversions(file.counted_conversions)
    await connection.execute(UPDATE_CONVERSIONS, org_id, file.template_id, counted, at)
    await connection.execute(UPDATE_REQUIRED, org_id, file.template_id, file.required_fields)


async def import_template(
    connection: Connection,
    org_id: UUID,
    file: TemplateFile,
    served: Mapping[str, Vars],
    actor: str,
    at: datetime,
    *,
    review_required: bool,
) -> Imported:
    """Make the stored template equal to the file, in the caller's transaction. Repeating changes nothing.

    `served`: by variant, the texts that its own become (shared/content/served.py).
    """
    before = await place_of(connection, org_id, file.template_id)
    await store_settings(connection, org_id, file, at)
    stored = {one.name: one for one in await variant_store.read_variants(connection, org_id, file.template_id)}
    is_served = file.state in ("active", "shipped")
    changes: list[Change] = []
    for variant in file.variants:
        one, texts = stored.get(variant.name), served[variant.name]
        what, copy_id, now = await store_variant(
            connection, org_id, file.template_id, variant, one, texts, actor, at, review_required=review_required
        )
        told = touched(one.standing, now, served=is_served) if one else ()
        standing, serves = now.shown(served=is_served), now.state == "approved"
        changes.append(Change(variant.name, copy_id, what, standing, told, serves))
    for one in stored.values():
        if one.name not in {variant.name for variant in file.variants} and one.standing.state != "archived":
            move = Move(Standing("archived", one.standing.version), "archived", one.standing.version)
            await variant_store.apply(connection, org_id, one.copy_id, move, actor, at)
            told = touched(one.standing, move.standing, served=is_served)
            changes.append(Change(one.name, one.copy_id, "archived", "archived", told))
    after = await place_of(connection, org_id, file.template_id)
    return Imported(changes, snippet_changed=before is not None and before != after)


async def store_variant(
    connection: Connection,
    org_id: UUID,
    template_id: str,
    variant: VariantCopy,
    one: variant_store.Stored | None,
    served: Vars,
    actor: str,
    at: datetime,
    *,
    review_required: bool,
) -> tuple[str, UUID, Standing]:
    """Make one variant (`one`, as it was read and is held) say this: what was done, its id, where it stands then."""
    copy_id = one.copy_id if one else uuid4()
    now, said = _said(variant, one)
    if one is None:
        await variant_store.insert_variant(connection, org_id, copy_id, template_id, variant, at)
    elif one.theme != variant.theme:
        await connection.execute(UPDATE_THEME, org_id, copy_id, variant.theme, at)
    if said.same_as is None:
        await variant_store.insert_version(connection, org_id, copy_id, said.newest + 1, variant, served, actor, at)
    for move in write(now, said, review_required=review_required):
        await variant_store.apply(connection, org_id, copy_id, move, actor, at)
        now = move.standing
    what = "created" if one is None else "new version" if said.same_as is None else "unchanged"
    return what, copy_id, now


def _said(variant: VariantCopy, one: variant_store.Stored | None) -> tuple[Standing, Written]:
    """Where the variant is, and what the file says of it."""
    approved = variant.approved if "approved" in variant.model_fields_set else None
    if one is None:
        return Standing("draft", 1), Written(None, 0, approved)
    texts = (variant.subject, variant.preheader, variant.source)
    looked_at = (one.standing.pending, one.standing.version)  # an older version that is written again is a new one
    same = next((number for number in looked_at if number is not None and one.at(number).texts == texts), None)
    return one.standing, Written(same, one.versions[-1].number, approved)


async def place_of(connection: Connection, org_id: UUID, template_id: str) -> Place | None:
    """Where a template lives and what its control says; None when there is no such template."""
    row = await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id)
    if row is None:
        return None
    control = Control(row["control_subject"], row["control_preheader"], row["control_body"])
    return Place(row["property_prefix"], row["flow_id"], row["treatment_action_id"], control, row["delay_s"])
