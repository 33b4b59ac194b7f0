"""`justai source reconcile`: our counts beside Klaviyo's own totals."""

import asyncio

import click
import orjson

from cli.actor import acting
from cli.display import moment, printable, show_table
from cli.session import Session, command, session
from shared.admin.operation import Nothing
from shared.admin.sources import reconciliation
from shared.admin.sources.reconciliation import BASES, UNITS, AskedTotals, Totals

_LOOK_S = 1.0  # real seconds between looks at a comparison that was asked for


@click.command("reconcile")
@click.argument("org_slug")
@click.option("--now", is_flag=True, help="Have them compared anew first; else the last comparison is shown.")
@click.option("--wait-s", type=click.FloatRange(0, 1800), default=180, show_default=True, help="Real seconds to wait.")
@click.option("--all", "everything", is_flag=True, help="Also what agrees.")
@click.option("--limit", type=click.IntRange(1, 5000), default=200, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the table.")
@acting
@command
async def reconcile(
    org_slug: str, now: bool, wait_s: float, everything: bool, limit: int, as_json: bool, actor: str
) -> None:
    """Compare our counts of emails with Klaviyo's own totals, and name likely causes.

    The ingest service does it every hour: emails of the last seven whole days by when they were sent, and the last 24
    whole hours by when something happened. Klaviyo answers two reports a minute and 225 a day.
    """
    asked = AskedTotals(all=everything, limit=limit)
    async with session() as s:
        if now:
            await _compare(s, org_slug, actor, wait_s)
        found = await s.run(reconciliation.totals, asked, org_slug)
    if as_json:
        click.echo(orjson.dumps(found.model_dump(mode="json"), option=orjson.OPT_INDENT_2).decode())
        return
    _show(found)


async def _compare(s: Session, org_slug: str, actor: str, wait_s: float) -> None:
    asked = await s.run(reconciliation.compare, Nothing(), org_slug, actor)
    clock = asyncio.get_running_loop().time
    until = clock() + wait_s
    while True:
        found = await s.run(reconciliation.totals, AskedTotals(limit=1), org_slug)
        if any(at is not None and at >= asked.asked_at for at in (found.compared_at, found.tried_at)):
            return
        if clock() >= until:
            raise click.ClickException(
                f"Nothing was heard within {wait_s:g} s; it stays asked for. Is the ingest service running?"
            )
        await asyncio.sleep(_LOOK_S)


def _show(found: Totals) -> None:
    if found.problem:
        click.echo(f"Not all could be compared: {printable(found.problem)}")
    if found.compared_at is None:
        click.echo("Nothing was compared yet; the ingest service does it within the hour, or now with --now.")
        return
    zone = found.time_zone or "UTC, for the key may not read the account's time zone"
    click.echo(f"Compared at {moment(found.compared_at)}: {found.compared} numbers, {found.differing} differ.")
    click.echo(
        f"  sent      {found.sent_since:%Y-%m-%d %H:%M} to {found.sent_until:%Y-%m-%d %H:%M} UTC, days of {zone}"
    )
    click.echo(f"  happened  {found.happened_since:%Y-%m-%d %H:%M} to {found.happened_until:%Y-%m-%d %H:%M} UTC")
    show_table(
        ("message", "of", "what", "ours", "Klaviyo's", "difference", "likely cause"),
        (
            (
                one.message_name or one.message_id, BASES.get(one.basis, one.basis),
                UNITS.get(one.measure, one.measure), one.ours, one.theirs, f"{one.ours - one.theirs:+d}", one.says,
            )
            for one in found.rows
        ),
        empty="No difference." if found.compared else "No email of a flow in that time, neither here nor there.",
    )  # fmt: skip
    for says, advice in sorted({(one.says, one.advice) for one in found.rows if one.cause != "agrees"}):
        click.echo(f"{says}: {advice}")
