"""Drafts by a model: runs that are asked for here and worked off in the background (ADR 0019)."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from shared.admin.context import Context
from shared.admin.drafts import store as draft_store
from shared.admin.drafts.keeping import SELECT_STATE, read_known
from shared.admin.drafts.models import (
    AskedDrafts,
    AskedRuns,
    Cancelled,
    ModelShown,
    OneRun,
    PromptShown,
    Result,
    Run,
    RunRow,
    Runs,
)
from shared.admin.drafts.steps import TOO_LATE, deadline_of, estimate, theme_of
from shared.admin.errors import Conflict, Next, NotFound, Refused
from shared.admin.operation import operation
from shared.admin.templates.one import no_template
from shared.drafting.brief import Brief
from shared.drafting.prompt import asked_of, make_prompt
from shared.drafting.usage import Usage

LEASE: Final = timedelta(seconds=30)
"""Of people's time. A worker that is silent for so long has lost its run; it renews every two seconds."""

_DAY: Final = timedelta(hours=24)

# Two people who ask at the same moment must not both find room for one.
LOCK_ORG = "SELECT pg_advisory_xact_lock(hashtextextended('drafts:' || $1, 0))"
COUNT_UNDER_WAY = """
    SELECT count(*) FROM draft_runs WHERE org_id = $1 AND state IN ('queued', 'running') AND deadline_at > $2
"""
# What is under way counts whole; what has ended, by the drafts that a model was asked for.
COUNT_A_DAY = """
    SELECT coalesce(sum(CASE WHEN r.state IN ('queued', 'running') AND r.deadline_at > $3 THEN r.number ELSE (
        SELECT count(*) FROM draft_results d WHERE d.org_id = r.org_id AND d.run_id = r.run_id) END), 0)::bigint
    FROM draft_runs r WHERE r.org_id = $1 AND r.created_at > $2
"""
SELECT_RUN = """
    SELECT r.*, (SELECT n.run_id FROM draft_runs n WHERE n.org_id = r.org_id AND n.retry_of = r.run_id) AS retried_by
    FROM draft_runs r WHERE r.org_id = $1 AND r.template_id = $2 AND r.run_id = $3
"""
SELECT_RESULTS = """
    SELECT number, theme, outcome, name, subject, copy_id, findings, fault, made_at FROM draft_results
    WHERE org_id = $1 AND run_id = $2 ORDER BY number
"""
SELECT_RUNS = """
    SELECT r.run_id, r.state, r.number, r.brief ->> 'goal' AS goal, r.asked_by, r.code, r.reason, r.created_at,
           r.ended_at, r.deadline_at, d.tried, d.stored, d.in_review
    FROM draft_runs r CROSS JOIN LATERAL (
        SELECT count(*) AS tried, count(copy_id) AS stored, count(*) FILTER (WHERE outcome = 'in_review') AS in_review
        FROM draft_results d WHERE d.org_id = r.org_id AND d.run_id = r.run_id
    ) d
    WHERE r.org_id = $1 AND r.template_id = $2 ORDER BY r.created_at DESC, r.run_id LIMIT $3
"""
CANCEL = """
    UPDATE draft_runs SET state = 'cancelled', reason = $3, ended_at = $4, lease_until = NULL
    WHERE org_id = $1 AND run_id = $2 AND state IN ('queued', 'running') AND deadline_at > $4
"""
SELECT_USUAL = """
    SELECT sum(r.tokens_written)::float8 / nullif(sum(d.tried), 0) FROM (
        SELECT org_id, run_id, tokens_written FROM draft_runs
        WHERE org_id = $1 AND uncounted = 0 AND tokens_written > 0 ORDER BY created_at DESC LIMIT 20
    ) r CROSS JOIN LATERAL (
        SELECT count(*) AS tried FROM draft_results d WHERE d.org_id = r.org_id AND d.run_id = r.run_id
    ) d
"""


@operation(
    "drafts.prompt", "POST", "/templates/{template_id}/drafts/prompt", "editor",
    "Show what a model would be sent for the first draft of a brief, and what it may cost; nothing is sent.",
    changes=False,
)  # fmt: skip
async def show_prompt(context: Context, asked: AskedDrafts) -> PromptShown:
    _has_themes(asked.brief)
    known = await read_known(context.connection, context.org_id, asked.template_id)
    if known is None:
        raise no_template(asked.template_id)
    _not_archived(asked.template_id, known.state)
    theme, today = theme_of(asked.brief, 1), context.now.date()
    prompt = make_prompt(
        asked_of(
            asked.brief, known.rules, asked.template_id, today, theme=theme, taken=known.subjects,
            learnings=known.learnings,
        )
    )  # fmt: skip
    drafting = context.means.drafting
    about, most = None, None
    if drafting is not None and drafting.prices is not None:
        usual = await context.connection.fetchval(SELECT_USUAL, context.org_id)
        about, most = estimate(prompt, asked.number, drafting.model, drafting.prices, usual)
    return PromptShown(
        digest=prompt.digest, system=prompt.system, user=prompt.user, answer_schema=dict(prompt.schema),
        model=drafting.model.label if drafting else None, about_usd=about, most_usd=most,
    )  # fmt: skip


@operation(
    "drafts.start", "POST", "/templates/{template_id}/drafts", "editor",
    "Have the model draft variants from a brief, in the background; none is served before somebody approves it.",
)  # fmt: skip
async def start(context: Context, asked: AskedDrafts) -> Run:
    context.means.need_drafting()
    _has_themes(asked.brief)
    await _template_takes_drafts(context, asked.template_id)
    return await _begin(context, asked.template_id, asked.brief, asked.number)


@operation(
    "drafts.list", "GET", "/templates/{template_id}/drafts", "viewer",
    "List a template's runs of drafting, and how many drafts the org may still ask for.",
)  # fmt: skip
async def list_runs(context: Context, asked: AskedRuns) -> Runs:
    if await context.connection.fetchval(SELECT_STATE, context.org_id, asked.template_id) is None:
        raise no_template(asked.template_id)
    rows = await context.connection.fetch(SELECT_RUNS, context.org_id, asked.template_id, asked.limit)
    wall = context.means.wall.now()
    return Runs(runs=[RunRow(**_settled(dict(row), wall)) for row in rows], model=await _model(context, wall))


@operation(
    "drafts.show", "GET", "/templates/{template_id}/drafts/{run_id}", "viewer",
    "Show one run: how far it is, what became of each draft, and why it failed.",
)  # fmt: skip
async def show(context: Context, asked: OneRun) -> Run:
    return await _run(context, asked.template_id, asked.run_id)


@operation(
    "drafts.cancel", "POST", "/templates/{template_id}/drafts/{run_id}/cancel", "editor",
    "End a run; what was stored stays.", target=("template_id", "run_id"),
)  # fmt: skip
async def cancel(context: Context, asked: OneRun) -> Cancelled:
    run = await _run(context, asked.template_id, asked.run_id)
    reason, wall = f"Cancelled by {context.actor.name}", context.means.wall.now()
    if await context.connection.execute(CANCEL, context.org_id, run.run_id, reason, wall) != "UPDATE 1":
        raise Conflict("The run is over already", code="run_is_over")
    return Cancelled(run_id=run.run_id, stored=run.stored)


@operation(
    "drafts.retry", "POST", "/templates/{template_id}/drafts/{run_id}/retry", "editor",
    "Ask again for the drafts that a run still owes, with its brief.", target=("template_id", "run_id"),
)  # fmt: skip
async def retry(context: Context, asked: OneRun) -> Run:
    context.means.need_drafting()
    await context.connection.execute(LOCK_ORG, str(context.org_id))
    run = await _run(context, asked.template_id, asked.run_id)
    if run.going:
        raise Conflict("The run is not over yet", code="run_is_going")
    if not run.missing:
        raise Conflict("All drafts of the run are stored", code="nothing_missing")
    if run.retried_by is not None:
        raise Conflict("The run was tried again already", code="retried_already")
    await _template_takes_drafts(context, asked.template_id)
    return await _begin(context, asked.template_id, run.brief, run.missing, retry_of=run.run_id)


async def _begin(context: Context, template_id: str, brief: Brief, number: int, *, retry_of: UUID | None = None) -> Run:
    drafting, wall = context.means.need_drafting(), context.means.wall.now()
    await context.connection.execute(LOCK_ORG, str(context.org_id))
    shown = await _model(context, wall)
    if shown is not None and shown.under_way >= shown.at_once:
        raise Refused(
            f"{shown.under_way} {'run' if shown.under_way == 1 else 'runs'} of this org "
            f"{'is' if shown.under_way == 1 else 'are'} under way, and more may not be at once: wait, or cancel one",
            code="too_many_runs",
        )  # fmt: skip
    if shown is not None and number > shown.left_today:
        raise Refused(
            f"is more than the {shown.left_today} drafts that are left: an org may ask for {shown.a_day} in 24 hours",
            field="number", code="too_many_drafts",
        )  # fmt: skip
    run_id = context.means.new_id()
    await context.connection.execute(
        draft_store.INSERT_RUN, context.org_id, run_id, template_id, brief.model_dump(mode="json"), number,
        context.actor.name, drafting.model.label, retry_of, wall, deadline_of(number, drafting.model, wall),
        wall + LEASE if drafting.here else None,
    )  # fmt: skip
    return await _run(context, template_id, run_id)


async def _run(context: Context, template_id: str, run_id: UUID) -> Run:
    row = await context.connection.fetchrow(SELECT_RUN, context.org_id, template_id, run_id)
    if row is None:
        raise NotFound(
            f"There is no run {run_id} of {template_id!r}", field="run_id", next=Next("drafts.list", (template_id,))
        )
    results = await context.connection.fetch(SELECT_RESULTS, context.org_id, run_id)
    known = _settled(dict(row), context.means.wall.now())
    prices = context.means.drafting.prices if context.means.drafting else None
    usage = Usage(row["tokens_read"], row["tokens_written"], row["uncounted"])
    return Run(**known, spent=usage.shown(prices), results=[Result(**dict(one)) for one in results])


def _settled(known: dict[str, Any], wall: datetime) -> dict[str, Any]:
    """The run as it is to whoever looks: one that is overdue has failed, also where nobody is left to say so."""
    if known["state"] in ("queued", "running") and known["deadline_at"] <= wall:
        known |= {"state": TOO_LATE.state, "code": TOO_LATE.code, "reason": TOO_LATE.reason}
        known |= {"ended_at": known["deadline_at"]}
    return known


async def _model(context: Context, wall: datetime) -> ModelShown | None:
    drafting = context.means.drafting
    if drafting is None:
        return None
    under_way = await context.connection.fetchval(COUNT_UNDER_WAY, context.org_id, wall)
    used = await context.connection.fetchval(COUNT_A_DAY, context.org_id, wall - _DAY, wall)
    return ModelShown(
        label=drafting.model.label, host=drafting.model.host, at_once=drafting.at_once, under_way=under_way,
        a_day=drafting.a_day, left_today=max(0, drafting.a_day - used),
    )  # fmt: skip


async def _template_takes_drafts(context: Context, template_id: str) -> None:
    state = await context.connection.fetchval(SELECT_STATE, context.org_id, template_id)
    if state is None:
        raise no_template(template_id)
    _not_archived(template_id, state)


def _not_archived(template_id: str, state: str) -> None:
    if state == "archived":
        raise Refused(f"Template {template_id!r} is archived: nobody would see its drafts", code="template_archived")


def _has_themes(brief: Brief) -> None:
    if not brief.themes:
        raise Refused("name at least one; each draft has one of them", field="brief.themes")
