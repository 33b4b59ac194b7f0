"""SQL of drafting: what a template has already, how its themes did, and a draft stored as an imported variant is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from shared.admin import variant_store
from shared.content.checks import Asked, blocking, check_copy
from shared.content.faults import Finding
from shared.content.lifecycle import Event, Move, Standing, act
from shared.content.rules import OrgRules
from shared.db.pool import Connection
from shared.drafting.answer import free_name, keeps_the_brief
from shared.drafting.brief import Brief
from shared.drafting.prompt import Learning
from shared.schemas.template_file import VariantCopy

SELECT_TEMPLATE = "SELECT state, required_fields FROM templates WHERE org_id = $1 AND template_id = $2"
SELECT_LEARNINGS = """
    SELECT v.theme, sum(r.delivered)::bigint AS delivered, sum(r.human_clicks)::bigint AS clicked
    FROM rollups r JOIN variants v ON v.org_id = r.org_id AND v.copy_id = r.copy_id
    WHERE r.org_id = $1 AND r.template_id = $2 AND v.theme <> ''
    GROUP BY v.theme ORDER BY v.theme
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What a template and its org say that drafts depend on."""

    state: str
    required_fields: tuple[str, ...]
    rules: OrgRules
    subjects: tuple[str, ...]
    learnings: tuple[Learning, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a draft. `copy_id` None: it cannot be served, so it was not stored."""

    copy_id: UUID | None
    name: str
    shown: str
    findings: Sequence[Finding]


async def read_known(connection: Connection, org_id: UUID, template_id: str) -> Known | None:
    """None when there is no such template."""
    row = await connection.fetchrow(SELECT_TEMPLATE, org_id, template_id)
    if row is None:
        return None
    stored = await variant_store.read_variants(connection, org_id, template_id)
    learned = await connection.fetch(SELECT_LEARNINGS, org_id, template_id)
    return Known(
        row["state"],
        tuple(row["required_fields"]),
        await variant_store.read_rules(connection, org_id),
        tuple(one.versions[-1].copy.subject for one in stored if one.standing.state != "archived"),
        tuple(Learning(one["theme"], one["delivered"], one["clicked"]) for one in learned),
    )


async def keep_draft(
    connection: Connection, org_id: UUID, template_id: str, draft: VariantCopy, brief: Brief, known: Known,
    *, actor: str, made_by: str, at: datetime,
) -> Kept:  # fmt: skip
    """Store a draft under a name of its own, in review where nothing stops its approval and it does as the brief says.
    It is never approved here. `made_by` goes into its history."""
    stored = await variant_store.read_variants(connection, org_id, template_id)
    draft = draft.model_copy(update={"name": free_name(draft.name, (one.name for one in stored))})
    others = {
        one.name: one.at(one.standing.pending or one.standing.version).copy
        for one in stored
        if one.standing.state != "archived"
    }
    reading = check_copy(draft, Asked(template_id, at.date(), known.rules, known.required_fields, others))
    findings = [*reading.findings, *keeps_the_brief(draft, brief)]
    if reading.served is None or any(not one.warning and not one.approval for one in findings):
        return Kept(None, draft.name, "not stored", findings)
    copy_id = uuid4()
    await variant_store.insert_variant(connection, org_id, copy_id, template_id, draft, at)
    await variant_store.insert_version(connection, org_id, copy_id, 1, draft, reading.served, actor, at)
    now = Standing("draft", 1)
    await variant_store.apply(connection, org_id, copy_id, Move(now, "written", 1), actor, at, made_by)
    if not blocking(findings):
        move = act(
            "submit", now, [Event(1, "written", actor)], actor=actor, review_required=known.rules.review_required
        )
        await variant_store.apply(connection, org_id, copy_id, move, actor, at)
        now = move.standing
    return Kept(copy_id, draft.name, now.shown(served=False), findings)
