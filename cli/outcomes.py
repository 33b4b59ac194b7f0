"""`justai outcomes`: what became of recent generations, and why emails show the control content."""

from datetime import datetime, timedelta

import click

from cli import stops
from cli.display import moment, show_table
from cli.session import Session, command, session
from shared.db.pool import Connection
from shared.schemas.decisions import PREVIEW
from shared.schemas.ids import generation_day

# Both tables are partitioned by day: with the day on both sides only those of the time asked for are read.
SELECT_COUNTS = """
    SELECT g.template_id, g.decision, g.reason AS decided, w.outcome, w.reason, count(*) AS generations
    FROM generations g
    LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id AND w.day >= $3
    WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.day >= $3 AND ($4::text IS NULL OR g.template_id = $4)
      AND g.decision IN ('treatment', 'control')
    GROUP BY g.template_id, g.decision, g.reason, w.outcome, w.reason
    ORDER BY g.template_id, generations DESC, g.decision, g.reason
"""
SELECT_OF_PERSON = """
    SELECT g.accepted_at, g.template_id, g.decision, g.reason AS decided, v.name AS variant, g.deadline_at, w.outcome,
           w.reason, w.at
    FROM generations g
    LEFT JOIN write_outcomes w ON w.day = g.day AND w.generation_id = g.generation_id AND w.day >= $3
    LEFT JOIN variants v ON v.copy_id = g.copy_id
    WHERE g.org_id = $1 AND g.accepted_at >= $2 AND g.day >= $3 AND ($4::text IS NULL OR g.template_id = $4)
      AND g.user_id = $5
    ORDER BY g.accepted_at DESC LIMIT 50
"""
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


@click.command()
@click.argument("org_slug")
@click.option(
    "--hours",
    type=click.FloatRange(0, 24 * 90, min_open=True),
    default=1.0,
    show_default=True,
    help="How far back to look.",
)
@click.option("--template", "template_id", help="Only this template.")
@click.option("--user", "user_id", help="One person's generations, by Klaviyo profile id, newest first.")
@command
async def outcomes(org_slug: str, hours: float, template_id: str | None, user_id: str | None) -> None:
    """Show what became of recent generations: decided for what and why, written or not and why.

    First, whether anything is stopped, or writing is paused or held up right now.
    `docs/runbooks/emails-show-control.md` says what each reason means.
    """
    async with session() as s:
        org_id = await s.org_id(org_slug)
        now = s.clock.now()
        since = now - timedelta(hours=hours)
        asked = (org_id, since, generation_day(since), template_id)
        await stops.say_stops(s, org_slug, template_id)
        await _show_writing(s, org_id, now)
        async with s.db.transaction(org_id) as connection:
            if user_id is not None:
                await _show_person(connection, now, *asked, user_id)
                return
            rows = await connection.fetch(SELECT_COUNTS, *asked)
    show_table(
        ("template", "decision", "because of", "write", "because of", "generations", "the email shows"),
        (
            (
                row["template_id"], row["decision"], row["decided"], row["outcome"] or "not settled", row["reason"],
                row["generations"], shows(row["decision"], row["outcome"], row["reason"]),
            )
            for row in rows
        ),
        empty=f"No generations within {hours:g} h.",
    )  # fmt: skip


async def _show_writing(s: Session, org_id: object, now: datetime) -> None:
    async with s.db.connection() as connection:  # the account belongs to no org: only workers see it
        pause = await connection.fetchrow(SELECT_PAUSE, org_id)
        waiting = await connection.fetchrow(SELECT_WAITING, org_id)
        account = await connection.fetchrow(SELECT_ACCOUNT, org_id)
    if pause is not None:
        click.echo(f"Writing is paused since {moment(pause['paused_at'])}: {pause['message']} ({pause['reason']}).")
    if account is not None and account["blocked_until"] is not None and account["blocked_until"] > now:
        click.echo(f"Klaviyo is left alone until {moment(account['blocked_until'])} ({account['blocked_reason']}).")
    if waiting is not None and (waiting["writes"] or waiting["clears"]):
        due = f", the first due at {moment(waiting['first_deadline_at'])}" if waiting["writes"] else ""
        click.echo(f"Waiting: {waiting['writes']} writes{due}; {waiting['clears']} clears.")


async def _show_person(connection: Connection, now: datetime, *asked: object) -> None:
    rows = await connection.fetch(SELECT_OF_PERSON, *asked)
    show_table(
        ("accepted", "template", "decision", "because of", "variant", "write", "because of", "at", "deadline", "shows"),
        (
            (
                moment(row["accepted_at"]), row["template_id"], row["decision"], row["decided"], row["variant"],
                row["outcome"] or ("waiting" if row["deadline_at"] > now else "not settled"), row["reason"],
                moment(row["at"]), moment(row["deadline_at"]),
                shows(row["decision"], row["outcome"], row["reason"]),
            )
            for row in rows
        ),
        empty="No generations of this person in that time.",
    )  # fmt: skip


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
