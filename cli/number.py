"""`justai number`: what did the emails show?"""

import click

from cli.display import moment, show_table
from cli.session import command, session
from shared.admin import operations_number as admin_number
from shared.admin.operations_number import Number

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
@command
async def number(org_slug: str, hours: float) -> None:
    """Tell what the emails showed, inferred from how writes ended and when emails left.

    Right is the newest copy; control comes by plan, or because copy did not get there, each with its reason. An older
    copy is a fault. Blank, foreign and broken emails cannot come from the snippet that is handed out.
    """
    async with session() as s:
        found = await s.run(admin_number.number, admin_number.AskedNumber(hours=hours), org_slug)
    click.echo(summary(found))
    if found.as_of is not None:
        click.echo(f"Counted at {moment(found.as_of)} UTC; what has changed since is being counted.")
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


def summary(found: Number) -> str:
    """One line."""
    share = "" if found.right_share is None else f" ({found.right_share:.1%} of those meant to)"
    return (
        f"{found.right:,} right{share}, {found.control_planned:,} control planned, {found.control_missed:,} control "
        f"missed, {found.stale:,} faults; {found.pending:,} to come"
    )
