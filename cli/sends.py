"""`justai sends` and `justai email`: the emails behind a number of the results, and the files behind an email."""

from datetime import datetime

import click

from cli.display import moment, printable, show_table
from cli.session import command, session
from shared.admin.results import sends as admin_sends
from shared.admin.results.sends import AskedSend, AskedSends, OneSend

_DAY = click.DateTime(["%Y-%m-%d"])
_WHAT = ("sent", "delivered", "opened", "machine_opened", "clicked", "bot_clicked", "unsubscribed", "spam")


@click.command("sends")
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--since", type=_DAY, help="Decisions from this day of the org's zone on.  [default: 30 days back]")
@click.option("--until", type=_DAY, help="… to this day, which is included.  [default: today]")
@click.option("--arm", type=click.Choice(["treatment", "control"]), help="Both by default.")
@click.option("--variant", help="Only of this one, by its name.")
@click.option("--by", "attr", metavar="ATTR[=VALUE]", help="Only of people with this value; without one: with none.")
@click.option("--what", type=click.Choice(_WHAT), default="delivered", show_default=True, help="As results count it.")
@click.option("--after", help="Where the list before this one ended; it says so.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the table.")
@command
async def sends(
    org_slug: str, template_id: str, since: datetime | None, until: datetime | None, arm: str | None,
    variant: str | None, attr: str | None, what: str, after: str | None, limit: int, as_json: bool,
) -> None:  # fmt: skip
    """List the emails that a number of the results counts, newest days first.

    Then `justai email ORG TRANSMISSION` shows the file and line of each of an email's events.
    """
    name, equals, value = (attr or "").partition("=")
    asked = AskedSends.model_validate(
        {
            "template_id": template_id, "since": since and since.date(), "until": until and until.date(), "arm": arm,
            "variant": variant, "attr": name or None, "value": value if equals else None, "what": what,
            "after": after, "limit": limit,
        }
    )  # fmt: skip
    async with session() as s:
        found = await s.run(admin_sends.list_sends, asked, org_slug)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    show_table(
        ("day", "email", "profile", "sent", "arm", "cell", "opens", "clicks"),
        (
            (
                str(one.day), one.transmission_id, one.profile_id, moment(one.sent_at), one.variant or one.arm,
                one.cell, f"{one.human_opens} +{one.machine_opens} by machines",
                f"{one.human_clicks} +{one.bot_clicks} by bots",
            )
            for one in found.sends
        ),
        empty=f"No email that was {what.replace('_', ' ')}, of decisions from {found.since} to {found.until}.",
    )  # fmt: skip
    if found.next is not None:
        click.echo(f"There may be more: --after {found.next}", err=True)


@click.command("email")
@click.argument("org_slug")
@click.argument("transmission_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the text.")
@command
async def email(org_slug: str, transmission_id: str, as_json: bool) -> None:
    """Show one email: what its events say together, and the file and line of each event.

    TRANSMISSION_ID is Klaviyo's; `justai sends` lists them. `justai event ORG EVENT` says more of one event.
    """
    async with session() as s:
        found = await s.run(admin_sends.show, AskedSend(transmission_id=transmission_id), org_slug)
    click.echo(found.model_dump_json(indent=2) if as_json else "\n".join(map(printable, _lines(found))))


def _lines(one: OneSend) -> list[str]:
    shown = (
        f"template {one.template_id}, {one.variant or one.copy_id or 'control'}"
        if one.template_id
        else "nothing of ours"
    )
    lines = [
        f"Email {one.transmission_id} to profile {one.profile_id}, sent {moment(one.sent_at)} ({one.attribution})",
        f"  showed {shown}; counted on {one.day} in cell {one.cell or '(all)'}",
        f"  {'delivered' if one.delivered else 'not delivered'}; opened {one.human_opens} times by people, "
        f"{one.machine_opens} by machines; clicked {one.human_clicks} times by people, {one.bot_clicks} by bots",
    ]
    for event in one.events:
        where = f"{event.source} {event.path} line {event.line}" if event.source else "a file that is forgotten"
        replaced = " (replaced since)" if event.replaced else ""
        lines.append(f"  {moment(event.event_at)} {event.metric} {event.event_id}: {where}{replaced}")
    return lines
