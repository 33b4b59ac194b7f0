"""How a stop (ADR 0010) is shown."""

from collections.abc import Iterable
from datetime import datetime

import click

from cli.display import moment, printable
from cli.session import Session
from shared.admin.stops import SomeStops, Stop, list_stops


async def say_stops(s: Session, org_slug: str, template_id: str | None = None) -> None:
    """A line for the org's stop and for each template's (None: any), so that nobody looks for another cause."""
    told(org_slug, (await s.run(list_stops, SomeStops(template_id=template_id), org_slug)).stops)


def told(org_slug: str, stops: Iterable[Stop]) -> None:
    """A line for each."""
    for one in stops:
        what, words = "The org", f"org resume {org_slug}"
        if one.template_id is not None:
            what, words = f"Template {one.template_id}", f"template resume {org_slug} {one.template_id}"
        since = shown(one.stopped_at, one.stopped_reason)
        click.echo(f"{what} is stopped since {since}; people get the control content until `justai {words}`.")


def shown(stopped_at: datetime | None, reason: str | None) -> str:
    """Since when and why, for a line or a cell; empty when it is not stopped."""
    return f"{moment(stopped_at)}{f': {printable(reason)}' if reason else ''}"
