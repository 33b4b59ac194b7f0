"""`justai restored`: a restored database is told of the span that it knows nothing of."""

from datetime import datetime, timedelta

import click

from cli.display import moment
from cli.moment import Moment
from cli.session import command, session
from shared.db import losses
from shared.db.losses import Loss


@click.command()
@click.option("--since", type=Moment(), required=True, help="The moment of the dump, or an earlier one; UTC.")
@click.option(
    "--days", type=click.IntRange(38, 3650), default=90, show_default=True,
    help="For so long. An email may leave 37 days after its webhook (a delay of 30, a send window of 7); copy of the "
    "span lies on a profile until the next write there.",
)  # fmt: skip
@command
async def restored(since: datetime, days: int) -> None:
    """Tell a restored database from which moment on it knows nothing, before any service uses it.

    Copy that reached profiles between then and now is still there, and nobody knows where. So whoever is decided anew
    counts as somebody with older copy: their write goes first, and who gets the control content has the copy taken off,
    which costs a write. Of all orgs.
    """
    async with session() as s:
        now = s.clock.now()
        if since >= now:
            raise click.BadParameter("that moment is still to come", param_hint="--since")
        async with s.db.connection() as connection:
            await losses.declare(connection, Loss(since, now), now + timedelta(days=days))
    click.echo(
        f"Copy that was written between {moment(since)} and {moment(now)} is expected on every profile "
        f"until {moment(now + timedelta(days=days))}."
    )
