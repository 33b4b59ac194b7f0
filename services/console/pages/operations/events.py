"""One event: which files say it, and what it counts for."""

from typing import Final

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.sources import tracing

pages = Pages()

_HOW: Final = {
    "row": "is stored as this line says",
    "same": "says the same",
    "other": "says less, or something else and is older",
    "copy": "another name for the same bytes",
    "version": "took its place, and has it too",
}


@pages.page("GET", "/{org}/operations/events/{event}", role="editor")
async def show(visit: Visit) -> web.StreamResponse:
    """To file and line."""
    event_id = visit.value("event")
    found = await visit.run(tracing.show, tracing.OneEvent(event_id=event_id))
    return visit.render("operations/event.html", event_id=event_id, events=found.events, how=_HOW)
