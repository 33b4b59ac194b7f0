"""What became of recent generations, and why emails show the control content."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import asyncpg
from pydantic import Field

from shared.admin.context import Asking, Context
from shared.admin.operation import AskedModel, ResultModel, operation_after
from shared.admin.outcomes.shown_store import SET_PLANNED_ONCE, reading_of
from shared.admin.person.known import is_known, nobody, on_profile
from shared.schemas.decisions import PREVIEW
from shared.schemas.ids import generation_day

SELECT_COUNTS = """
    SELECT template_id, decision, decided, outcome, reason, sum(emails)::bigint AS generations
    FROM found WHERE {0}::text IS NULL OR template_id = {0}
    GROUP BY template_id, decision, decided, outcome, reason
    ORDER BY template_id, generations DESC, decision, decided
"""
SELECT_OF_PERSON = """
    SELECT g.day, g.generation_id, g.accepted_at, g.template_id, g.decision, g.reason AS decided, v.name AS variant,
           g.deadline_at
    FROM generations g LEFT JOIN variants v ON v.copy_id = g.copy_id
    WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.day >= $3 AND ($4::text IS NULL OR g.template_id = $4)
      AND g.user_id = $5
    ORDER BY g.accepted_at DESC LIMIT 50
"""
# Apart from the generations, and one by one: a join of all days with all days reads whole days.
SELECT_ENDED = """
    SELECT k.generation_id, w.* FROM unnest($1::date[], $2::uuid[]) k (day, generation_id) CROSS JOIN LATERAL (
        SELECT outcome, reason, at FROM write_outcomes w
        WHERE w.day = k.day AND w.generation_id = k.generation_id LIMIT 1) w
"""
_NOT_ENDED = {"outcome": None, "reason": None, "at": None}
# A pause holds for the integration that was refused; where there is a newer one it has ended.
SELECT_PAUSE = """
    SELECT p.reason, p.message, p.paused_at FROM write_pauses p LEFT JOIN integrations i USING (org_id)
    WHERE p.org_id = $1 AND p.integration_at IS NOT DISTINCT FROM i.updated_at
"""
SELECT_WAITING = """
    SELECT count(*) FILTER (WHERE action = 'write') AS writes, count(*) FILTER (WHERE action <> 'write') AS clears,
           min(deadline_at) FILTER (WHERE action = 'write') AS first_deadline_at
    FROM pending_writes WHERE org_id = $1
"""
SELECT_ACCOUNT = """
    SELECT a.blocked_until, a.blocked_reason, a.failures, a.last_served_at
    FROM klaviyo_accounts a JOIN integrations i USING (account_key) WHERE i.org_id = $1
"""

Hours = Annotated[float, Field(gt=0, le=24 * 90)]


class AskedLately(AskedModel):
    """How far back to look, and of which template."""

    hours: Hours = 1.0
    template_id: str | None = None


class AskedOutcomes(AskedLately):
    """From the quarter hour in which that time began. `counts`: whether to count, or only tell what holds writes up."""

    counts: bool = True


class AskedPerson(AskedLately):
    """`user_id`: a Klaviyo profile's id."""

    user_id: str


class Pause(ResultModel):
    """Writing is paused since then, because the key was refused."""

    reason: str
    message: str
    paused_at: datetime


class Writing(ResultModel):
    """What holds writes up right now, and how many wait."""

    pause: Pause | None
    blocked_until: datetime | None
    blocked_reason: str | None
    writes: int
    clears: int
    first_deadline_at: datetime | None


class Count(ResultModel):
    """Generations that were decided so and ended so; `outcome` null: not settled yet. `shows`: what the email shows."""

    template_id: str
    decision: str
    decided: str
    outcome: str | None
    reason: str | None
    generations: int
    shows: str


class Outcomes(ResultModel):
    """By template, most first. `as_of`: all that was known until then is counted; null: all that is known."""

    writing: Writing
    as_of: datetime | None = None
    counts: list[Count]


class PersonsGeneration(ResultModel):
    """One generation of one person and what became of it."""

    generation_id: UUID
    accepted_at: datetime
    template_id: str
    decision: str
    decided: str
    variant: str | None
    deadline_at: datetime
    outcome: str | None
    reason: str | None
    at: datetime | None
    shows: str


class PersonsOutcomes(ResultModel):
    """Newest first, at most 50. `now`: whether a deadline has passed is judged by it."""

    now: datetime
    writing: Writing
    generations: list[PersonsGeneration]


async def _writing(asking: Asking, _: AskedLately) -> Writing:
    """As the worker's role: an account belongs to no org. Each statement names the org."""
    org_id = asking.org_id
    async with asking.means.database.connection() as connection:
        pause = await connection.fetchrow(SELECT_PAUSE, org_id)
        (waiting,) = await connection.fetch(SELECT_WAITING, org_id)
        account = await connection.fetchrow(SELECT_ACCOUNT, org_id)
    until = account["blocked_until"] if account is not None else None
    blocked = until is not None and until > asking.means.clock.now()
    return Writing(
        pause=None if pause is None else Pause(**dict(pause)),
        blocked_until=until if blocked else None,
        blocked_reason=account["blocked_reason"] if account is not None and blocked else None,
        **dict(waiting),
    )


async def _writing_of_org(asking: Asking, asked: AskedOutcomes) -> Writing:
    return await _writing(asking, asked)


async def _writing_of_person(asking: Asking, asked: AskedPerson) -> tuple[Writing, bool]:
    _, remembered = await on_profile(asking, asked.user_id)
    return await _writing(asking, asked), bool(remembered) or await is_known(asking, asked.user_id)


@operation_after(
    _writing_of_org, "outcomes.list", "GET", "/outcomes", "viewer",
    "Show what became of recent generations: decided for what and why, written or not and why.",
)  # fmt: skip
async def list_outcomes(context: Context, asked: AskedOutcomes, writing: Writing) -> Outcomes:
    if not asked.counts:
        return Outcomes(writing=writing, counts=[])
    reading = await reading_of(context.connection, context.org_id, asked.hours, context.now)
    rows = await reading.fetch(context.connection, SELECT_COUNTS, asked.template_id)
    counts = [Count(**dict(row), shows=_shows(row)) for row in rows]
    return Outcomes(writing=writing, as_of=reading.as_of, counts=counts)


# What one person got is theirs: not for whoever only looks at results.
@operation_after(
    _writing_of_person, "outcomes.person", "GET", "/people/{user_id}/outcomes", "editor",
    "Show one person's generations and what became of each, newest first.",
)  # fmt: skip
async def list_of_person(context: Context, asked: AskedPerson, found_first: tuple[Writing, bool]) -> PersonsOutcomes:
    """Raises NotFound for a person of whom nothing is stored, whenever it was."""
    writing, known_before = found_first
    since = context.now - timedelta(hours=asked.hours)
    await context.connection.execute(SET_PLANNED_ONCE)
    rows = await context.connection.fetch(
        SELECT_OF_PERSON, context.org_id, since, generation_day(since), asked.template_id, asked.user_id
    )
    if not rows and not known_before:
        raise nobody(asked.user_id)
    ended = await context.connection.fetch(
        SELECT_ENDED, [row["day"] for row in rows], [row["generation_id"] for row in rows]
    )
    ends = {row["generation_id"]: dict(row) for row in ended}
    found = [
        PersonsGeneration(**known, shows=shows(known["decision"], known["outcome"], known["reason"]))
        for row in rows
        for known in (dict(row) | _NOT_ENDED | ends.get(row["generation_id"], {}),)
    ]
    return PersonsOutcomes(now=context.now, writing=writing, generations=found)


def _shows(row: asyncpg.Record) -> str:
    return shows(row["decision"], row["outcome"], row["reason"])


def shows(decision: str, outcome: str | None, reason: str | None) -> str:
    """What the email with the handed-out snippet shows, as far as it is known."""
    if decision == PREVIEW:
        return "nothing of it: it was only looked at"
    if decision == "control" or outcome == "stopped":
        return "control, as decided"
    match outcome:
        case "written":
            return "perhaps our copy" if reason == "answered_late" else "our copy"
        case None:
            return "control, unless it is written in time"
        case "superseded":
            return "what a newer generation wrote"
        case _:
            return "control, missed"
