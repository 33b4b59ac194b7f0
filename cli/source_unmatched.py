"""`justai source unmatched`: how many emails show no generation yet, and why."""

import click

from cli.display import moment, printable, show_table
from cli.session import command, session
from shared.admin.sources import unmatched
from shared.unmatched import KEPT_DAYS


@click.command("unmatched")
@click.argument("org_slug")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Messages and days.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the table.")
@command
async def source_unmatched(org_slug: str, limit: int, as_json: bool) -> None:
    """Show how many emails wait for their generation, and why.

    Opens and clicks whose email no file has told of yet are counted too. The ingest service tries
    such emails again for a week: soon, then ever more seldom, and at once after a flow sync.
    """
    async with session() as s:
        found = await s.run(unmatched.waiting, unmatched.AskedWaiting(limit=limit), org_slug)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    if not found.reasons:
        click.echo("Nothing waits.")
        return
    for one in found.reasons:
        click.echo(f"{one.count:>10,}  {one.says}\n{'':12}{one.advice}")
    show_table(
        ("day", "message", "no generation", "other message", "not synced", "tried", "next", "until"),
        (
            (
                str(one.day), printable(one.message_name or one.message_id or "(none)"), one.no_generation,
                one.other_message, one.not_synced, moment(one.tried_at, "not yet"), moment(one.next_at, "at once"),
                str(one.until),
            )
            for one in found.messages
        ),
        empty="",
    )  # fmt: skip
    click.echo(f"Emails are tried again for {KEPT_DAYS} days after theirs.")
