"""`justai event`: which files say an event, and what it counts for."""

import click

from cli.display import moment, printable
from cli.session import command, session
from shared.admin.sources import tracing

_HOW = {
    "row": "is stored as it says", "same": "says the same", "other": "says less, or something else and is older",
    "copy": "is another name for the same bytes", "version": "took its place, and has it too",
}  # fmt: skip


@click.command()
@click.argument("org_slug")
@click.argument("event_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the text.")
@command
async def event(org_slug: str, event_id: str, as_json: bool) -> None:
    """Trace an event to file and line, and to what it counts for.

    EVENT_ID is Klaviyo's. With the email that it belongs to come the ids of its other events.
    """
    async with session() as s:
        traces = await s.run(tracing.show, tracing.OneEvent(event_id=event_id), org_slug)
    click.echo(traces.model_dump_json(indent=2) if as_json else "\n".join(map(printable, _lines(traces))))


def _lines(traces: tracing.Traces) -> list[str]:
    lines: list[str] = []
    for one in traces.events:
        lines.append(f"{one.metric} of profile {one.profile_id} at {moment(one.event_at)}")
        for seen in one.sightings:
            line = f"line {seen.line}" if seen.line else "some line"
            replaced = ", replaced since" if seen.replaced else ""
            loaded = f", loaded {moment(seen.settled_at)}" if seen.settled_at else ""
            lines.append(f"  {seen.source} {seen.path} {line}: {_HOW[seen.how]}{loaded}{replaced}")
        if (send := one.send) is not None:
            lines.append(f"  email {send.transmission_id}, sent {moment(send.sent_at)} ({send.attribution})")
            if send.template_id is not None:
                variant = send.variant or ("control" if send.copy_id is None else str(send.copy_id))
                lines.append(f"  generation {send.generation_id}: template {send.template_id}, {variant}")
                lines.append(f"  counted on {send.day} in cell {send.cell or '(all)'}")
        lines.append(f"  counts as {one.counts_as}" if one.counts_as else f"  counts for nothing: {one.why_not}")
        lines += [f"  beside it: {other.event_id} {other.metric} {moment(other.event_at)}" for other in one.others]
    return lines
