"""`justai org recount`: all that follows from an org's events, computed anew."""

import asyncio

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.actor import acting
from cli.display import console
from cli.session import Session, command, session
from shared.admin.operation import Nothing
from shared.admin.orgs import recounting

_LOOK_S = 1.0  # real seconds between looks
_STALL_S = 3600.0  # without a day more: the longest that one may take


@click.command("recount")
@click.argument("org_slug")
@click.option("--no-wait", is_flag=True, help="Ask for it and return.")
@acting
@command
async def recount(org_slug: str, no_wait: bool, actor: str) -> None:
    """Have all emails, orders and counts of an org computed anew from its events.

    Nothing needs it day by day. It is for what neither a file nor a setting tells of: a generation that was stored
    late beside an older one which its email was matched with, or a fault that a release has mended. The ingest service
    does it, one day of sending after the other, whether or not anybody watches; files are loaded meanwhile. The same
    command shows how far it is, and asks anew only after it has ended.
    """
    async with session() as s:
        await s.run(recounting.recount, Nothing(), org_slug, actor)
        if no_wait:
            click.echo("Asked for. The same command shows how far it is.")
            return
        days = await _watch(s, org_slug)
    click.echo(f"{days} days of emails, and all orders, are computed anew. Results follow within minutes.")


async def _watch(s: Session, org_slug: str) -> int:
    """A progress bar until it has ended; how many days there were."""
    columns = (TextColumn("Computing"), BarColumn(), MofNCompleteColumn(), TextColumn("days"), TimeElapsedColumn())
    now = asyncio.get_running_loop().time
    moved_at, seen = now(), recounting.Recount()
    with Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        while True:
            reached = await s.run(recounting.progress, Nothing(), org_slug)
            bar.update(task, total=reached.days, completed=reached.done or 0)
            if reached.ended_at is not None:
                return reached.days or 0
            if reached != seen:
                moved_at, seen = now(), reached
            if now() - moved_at > _STALL_S:
                raise click.ClickException("No day was done within an hour. It stays asked for: does ingest run?")
            await asyncio.sleep(_LOOK_S)
