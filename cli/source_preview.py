"""How `justai source preview` shows a file."""

import click

from cli.display import printable, show_table
from shared.event_fields import EVENT_FIELDS, REQUIRED_FIELDS
from shared.schemas.probes import FilePreview

_BY = {"header": "its name", "hand": "set by hand", "inside": "inside the properties"}
_ROW_FIELDS = ("line", "metric", "profile_id", "event_at", "event_id", "message_id", "flow_id", "transmission_id")


def show_preview(seen: FilePreview) -> None:
    """Format, mapping, first rows, first rejects, and what is wrong."""
    part = "all" if seen.whole else "the first"
    click.echo(f"{printable(seen.path)}: {seen.format or 'unknown format'}; {part} {seen.read_bytes} bytes were read.")
    if seen.fields:
        show_table(
            ("field", "column", "by", "what it is"),
            (
                (
                    one.field, one.column,
                    _BY[one.by] if one.by else "MISSING" if one.field in REQUIRED_FIELDS else "",
                    EVENT_FIELDS[one.field],
                )
                for one in seen.fields
            ),
            empty="",
        )  # fmt: skip
        click.echo()
        show_table(_ROW_FIELDS, ([row.get(name, "") for name in _ROW_FIELDS] for row in seen.rows), empty="No events.")
        click.echo()
        show_table(
            ("line", "why", "row"), ((one.line, one.reason, one.raw) for one in seen.rejects), empty="No rejects.",
        )  # fmt: skip
        click.echo(f"\n{seen.events} events and {seen.rejected} rejects in what was read; nothing was stored.")
    if seen.problem:
        raise click.ClickException(f"As it is, this file would be held: {printable(seen.problem).rstrip('.')}.")
