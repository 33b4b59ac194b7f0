"""`justai source backfill`: events of past days from Klaviyo's API."""

import asyncio
from datetime import UTC, datetime

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.actor import acting
from cli.display import console, printable
from cli.session import Session, command, session
from shared.admin.sources import backfilling
from shared.admin.sources.backfilling import AskedDays, Backfilling

_LOOK_S = 1.0  # real seconds between looks
_STALL_S = 600.0  # without a row or a day more
_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("backfill")
@click.argument("org_slug")
@click.argument("name")
@click.option("--since", type=_DAY, required=True, help="The first day (UTC), like 2026-10-01.")
@click.option("--until", type=_DAY, help="The day after the last one (UTC); today by default.")
@click.option("--no-wait", is_flag=True, help="Ask for the days and return.")
@acting
@command
async def backfill(
    org_slug: str, name: str, since: datetime, until: datetime | None, no_wait: bool, actor: str
) -> None:
    """Read events of past days from Klaviyo's API, for a source of kind klaviyo.

    Days are read one after the other by the ingest service, whether or not anybody watches. After a kill, of this
    command or of the service, the same command goes on with the days that are not read yet. Events count once, however
    often a day is read.
    """
    async with session() as s:
        last = until.date() if until is not None else s.clock.now().astimezone(UTC).date()
        asked = AskedDays(name=name, since=since.date(), until=last)
        done = await s.run(backfilling.backfill, asked, org_slug, actor)
        if not done.changed:
            click.echo("These days were asked for before and are not all read yet; that goes on.", err=True)
        if no_wait:
            click.echo(f"Asked for {done.since} to {done.until}; see `justai source files {org_slug} {name}`.")
            return
        reached = await _watch(s, org_slug, asked)
    read = f"{reached.done} days read: {reached.rows} events, {reached.fresh} of them new"
    if reached.troubled:
        raise click.ClickException(
            f"{read}. {reached.troubled} days are held or failed; the first: {printable(reached.trouble or '')}. Mend "
            f"the cause, then `justai source retry {org_slug} {name}`."
        )
    click.echo(f"{read}.")


async def _watch(s: Session, org_slug: str, asked: AskedDays) -> Backfilling:
    """A progress bar until every day is read, held or failed."""
    columns = (
        TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TextColumn("days, {task.fields[rows]} events"),
        TextColumn("{task.fields[per_s]}"), TimeElapsedColumn(), TextColumn("{task.fields[trouble]}"),
    )  # fmt: skip
    now = asyncio.get_running_loop().time
    began = moved_at = now()
    seen = (-1, -1)
    first_rows = None
    with Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task("", total=None, rows=0, per_s="", trouble="")
        while True:
            reached = await s.run(backfilling.progress, asked, org_slug)
            first_rows = reached.rows if first_rows is None else first_rows
            settled = reached.done + reached.troubled
            if (settled, reached.rows) != seen:
                moved_at, seen = now(), (settled, reached.rows)
            rate = (reached.rows - first_rows) / max(1.0, now() - began)
            bar.update(
                task, total=reached.days, completed=settled, rows=reached.rows,
                per_s=f"{rate:,.0f} a second" if rate >= 1 else "", trouble=printable(reached.trouble or "")[:200],
            )  # fmt: skip
            if settled >= reached.days:
                return reached
            if now() - moved_at > _STALL_S:
                why = f": {printable(reached.trouble)}" if reached.trouble else ""
                raise click.ClickException(
                    f"Nothing was read within {_STALL_S:g} s{why}. The days stay asked for: "
                    "is the ingest service running?"
                )
            await asyncio.sleep(_LOOK_S)
