"""What a template says to a prompt, and a draft stored as an imported variant is: cleaned, checked, never approved."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from shared.admin.variants import store as variant_store
from shared.content.checks import Asked, blocking, check_copy
from shared.content.faults import Finding
from shared.content.lifecycle import Event, Move, Standing, act
from shared.content.rules import OrgRules
from shared.db.pool import Connection
from shared.drafting.answer import free_name, keeps_the_brief
from shared.drafting.brief import Brief
from shared.drafting.prompt import Learning
from shared.schemas.template_file import VariantCopy

SELECT_STATE = "SELECT state FROM templates WHERE org_id = $1 AND template_id = $2"
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
    rules: OrgRules
    subjects: tuple[str, ...]
    learnings: tuple[Learning, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a draft. `copy_id` None: it cannot be served, so it was not stored."""

    copy_id: UUID | None
    name: str
    outcome: Literal["in_review", "draft", "not_stored"]
    findings: Sequence[Finding]


async def read_known(connection: Connection, org_id: UUID, template_id: str) -> Known | None:
    """None when there is no such template."""
    state = await connection.fetchval(SELECT_STATE, org_id, template_id)
    if state is None:
        return None
    stored = await variant_store.read_variants(connection, org_id, template_id, hold=False)
    learned = await connection.fetch(SELECT_LEARNINGS, org_id, template_id)
    return Known(
        state,
        await variant_store.read_rules(connection, org_id),
        tuple(one.versions[-1].copy.subject for one in stored if one.standing.state != "archived"),
        tuple(Learning(one["theme"], one["delivered"], one["clicked"]) for one in learned),
    )


async def keep_draft(
    connection: Connection, org_id: UUID, template_id: str, draft: VariantCopy, brief: Brief,
    *, copy_id: UUID, actor: str, made_by: str, at: datetime,
) -> Kept:  # fmt: skip
    """Store a draft under a name of its own, in review where nothing stops its approval and it does as the brief says.
    It is never approved here. `made_by` goes into its history. The rules are read anew: a model takes its time."""
    rules = await variant_store.read_rules(connection, org_id)
    required = await connection.fetchval(variant_store.SELECT_REQUIRED, org_id, template_id)
    stored = await variant_store.read_variants(connection, org_id, template_id)
    draft = draft.model_copy(update={"name": free_name(draft.name, (one.name for one in stored))})
    looked_at = Asked(template_id, at.date(), rules, tuple(required), variant_store.others_of(stored))
    reading = await asyncio.to_thread(check_copy, draft, looked_at)
    findings = [*reading.findings, *keeps_the_brief(draft, brief)]
    if reading.served is None or any(not one.warning and not one.approval for one in findings):
        return Kept(None, draft.name, "not_stored", findings)
    await variant_store.insert_variant(connection, org_id, copy_id, template_id, draft, at)
    await variant_store.insert_version(connection, org_id, copy_id, 1, draft, reading.served, actor, at)
    now = Standing("draft", 1)
    await variant_store.apply(connection, org_id, copy_id, Move(now, "written", 1), actor, at, made_by)
    passes = not blocking(findings)
    if passes:
        history = [Event(1, "written", actor)]
        move = act("submit", now, history, actor=actor, review_required=rules.review_required)
        await variant_store.apply(connection, org_id, copy_id, move, actor, at)
    return Kept(copy_id, draft.name, "in_review" if passes else "draft", findings)
