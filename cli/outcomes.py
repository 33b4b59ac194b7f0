"""`justai outcomes`: what became of recent generations, and why emails show the control content."""

import click

from cli import stops
from cli.display import moment, show_table
from cli.session import command, session
from shared.admin.outcomes import outcomes as admin_outcomes
from shared.admin.outcomes.outcomes import AskedOutcomes, AskedPerson, Count, PersonsOutcomes, Writing


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

    First, whether anything is stopped, or writing is paused or held up right now. What each reason means:
    docs/runbooks/emails-show-control.md
    """
    async with session() as s:
        await stops.say_stops(s, org_slug, template_id)
        if user_id is not None:
            of_person = AskedPerson(user_id=user_id, hours=hours, template_id=template_id)
            person = await s.run(admin_outcomes.list_of_person, of_person, org_slug)
            _show_writing(person.writing)
            _show_person(person)
            return
        asked = AskedOutcomes(hours=hours, template_id=template_id)
        found = await s.run(admin_outcomes.list_outcomes, asked, org_slug)
    _show_writing(found.writing)
    if found.as_of is not None:
        click.echo(f"Counted at {moment(found.as_of)}; what has changed since is being counted.")
    _show_counts(found.counts, hours)


def _show_counts(counts: list[Count], hours: float) -> None:
    show_table(
        ("template", "decision", "because of", "write", "because of", "generations", "the email shows"),
        (
            (
                one.template_id, one.decision, one.decided, one.outcome or "not settled", one.reason, one.generations,
                one.shows,
            )
            for one in counts
        ),
        empty=f"No generations within {hours:g} h.",
    )  # fmt: skip


def _show_writing(now: Writing) -> None:
    if now.pause is not None:
        click.echo(f"Writing is paused since {moment(now.pause.paused_at)}: {now.pause.message} ({now.pause.reason}).")
    if now.blocked_until is not None:
        click.echo(f"Klaviyo is left alone until {moment(now.blocked_until)} ({now.blocked_reason}).")
    if now.writes or now.clears:
        due = f", the first due at {moment(now.first_deadline_at)}" if now.writes else ""
        click.echo(f"Waiting: {now.writes} writes{due}; {now.clears} clears.")


def _show_person(found: PersonsOutcomes) -> None:
    show_table(
        ("accepted", "template", "decision", "because of", "variant", "write", "because of", "at", "deadline", "shows"),
        (
            (
                moment(one.accepted_at), one.template_id, one.decision, one.decided, one.variant,
                one.outcome or ("waiting" if one.deadline_at > found.now else "not settled"), one.reason,
                moment(one.at), moment(one.deadline_at), one.shows,
            )
            for one in found.generations
        ),
        empty="No generations of this person in that time.",
    )  # fmt: skip
