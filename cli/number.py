"""`justai number`: what did the emails show?"""

import click

from cli.display import moment, show_table
from cli.session import command, session
from shared.admin.outcomes import number as admin_number
from shared.admin.outcomes.examples import AskedExamples, ShownExamples, examples
from shared.admin.outcomes.number import Number, Shown

_LABELS = {
    "right": "right",
    "control_planned": "control, planned",
    "control_missed": "control, missed",
    "stale": "older copy (fault)",
    "unsure": "not sure",
    "replaced": "replaced",
    "pending": "to come",
}


@click.command()
@click.argument("org_slug")
@click.option(
    "--hours", type=click.FloatRange(0, 24 * 31, min_open=True), default=24.0, show_default=True,
    help="How far back to look.",
)  # fmt: skip
@click.option(
    "--examples", "because", metavar="REASON",
    help="The newest 20 generations of this reason, as the list names it, with the ids that `justai why` asks for.",
)  # fmt: skip
@click.option("--shown", type=click.Choice(list(_LABELS)), help="With --examples: only those that showed this.")
@click.option("--template", "template_id", help="With --examples: only those of this template.")
@command
async def number(
    org_slug: str, hours: float, because: str | None, shown: Shown | None, template_id: str | None
) -> None:
    """Tell what the emails showed, inferred from how writes ended and when emails left.

    Right is the newest copy; control comes by plan, or because copy did not get there, each with its reason. An older
    copy is a fault. Blank, foreign and broken emails cannot come from the snippet that is handed out.
    """
    if because is None and (shown or template_id):
        raise click.UsageError("--shown and --template go with --examples.")
    async with session() as s:
        if because is not None:
            asked = AskedExamples(because=because, shown=shown, template_id=template_id, hours=hours)
            _show_examples(await s.run(examples, asked, org_slug), org_slug, asked)
            return
        found = await s.run(admin_number.number, admin_number.AskedNumber(hours=hours), org_slug)
    click.echo(summary(found))
    if found.as_of is not None:
        click.echo(f"Counted at {moment(found.as_of)}; what has changed since is being counted.")
    show_table(
        ("template", "the email shows", "because of", "emails", "seen sent", "what helps"),
        (
            (
                one.template_id, _LABELS[one.shown], one.because, one.emails, one.seen,
                "" if one.do == "nothing" else one.do,
            )
            for one in found.rows
        ),
        empty=f"No generations within {hours:g} h.",
    )  # fmt: skip


def _show_examples(found: ShownExamples, org_slug: str, asked: AskedExamples) -> None:
    if found.means:
        click.echo(f"{asked.because} means: {found.means}.")
    show_table(
        ("accepted", "person", "template", "the email shows", "write", "ended", "sent", "generation"),
        (
            (
                moment(one.accepted_at), one.user_id, one.template_id, _LABELS[one.shown], one.outcome,
                moment(one.at), moment(one.sent_at), one.generation_id,
            )
            for one in found.examples
        ),
        empty=f"No generations of {asked.because!r} within {asked.hours:g} h; see `justai number {org_slug}`.",
    )  # fmt: skip


def summary(found: Number) -> str:
    """One line."""
    share = "" if found.right_share is None else f" ({found.right_share:.1%} of those meant to)"
    return (
        f"{found.right:,} right{share}, {found.control_planned:,} control planned, {found.control_missed:,} control "
        f"missed, {found.stale:,} faults; {found.pending:,} to come"
    )
