"""`justai audit`: who changed what in an org."""

from datetime import datetime

import click
import orjson

from cli.display import moment, show_table
from cli.moment import Moment
from cli.session import Session, command, session
from shared.admin.audit import AskedEntries, Entry, list_entries
from shared.admin.csv_text import csv_lines

_PAGE = 1000
_COLUMNS = ("audit_id", "at", "actor", "actor_kind", "operation", "target", "asked", "results", "request_id")


@click.command()
@click.argument("org_slug")
@click.option("--since", type=Moment(), help="Not what was before, like 2026-11-23T10:00 (UTC).")
@click.option("--operation", help="Only this one, or all of an area: keys.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest so many; in a file all."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, all of them.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, all of them; no cell is a formula.")
@command
async def audit(
    org_slug: str, since: datetime | None, operation: str | None, limit: int, as_json: bool, as_csv: bool
) -> None:
    """Show who changed what, newest first. Secrets are not in it, and long texts only with their beginning.

    What is in it cannot be edited or deleted by any role that services and `justai` work as.
    """
    if as_json and as_csv:
        raise click.ClickException("--csv: give it or --json, not both.")
    asked = AskedEntries(since=since, operation=operation, limit=_PAGE if as_json or as_csv else min(limit, _PAGE))
    async with session() as s:
        found = await _entries(s, org_slug, asked, None if as_json or as_csv else limit)
    if as_json:
        for one in found:
            click.echo(orjson.dumps(one.model_dump(mode="json")).decode())
    elif as_csv:
        click.echo(csv_lines([_COLUMNS, *map(_cells, found)]), nl=False)
    else:
        show_table(
            ("when", "who", "what", "of", "asked"),
            ((moment(one.at), one.actor, one.operation, one.target, _text(one.asked)) for one in found),
            empty="Nothing was changed.",
        )


async def _entries(s: Session, org_slug: str, asked: AskedEntries, most: int | None) -> list[Entry]:
    found: list[Entry] = []
    while True:
        page = await s.run(list_entries, asked, org_slug)
        found += page.entries
        if page.before is None or (most is not None and len(found) >= most):
            return found[:most]
        asked = asked.model_copy(update={"before": page.before})


def _cells(one: Entry) -> tuple[object, ...]:
    return (
        one.audit_id, one.at.isoformat(), one.actor, one.actor_kind, one.operation, one.target, _text(one.asked),
        _text(one.results), one.request_id,
    )  # fmt: skip


def _text(value: object) -> str:
    return orjson.dumps(value).decode()
