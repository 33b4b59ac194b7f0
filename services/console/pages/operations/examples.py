"""Examples of one reason: the newest generations whose emails showed the same for it, each with its story."""

from typing import Final

from aiohttp import web

from services.console.pages.operations.operations import span_of, spans
from services.console.web.advice import advice
from services.console.web.errors import not_found
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import Refused
from shared.admin.outcomes.examples import AskedExamples, examples
from shared.admin.run import read

pages = Pages()

MOST: Final = 20


@pages.page("GET", "/{org}/operations/examples", role="editor")
async def show(visit: Visit) -> web.StreamResponse:
    """What led here: a reason of `What emails showed`, or a miss of Troubleshooting."""
    query = visit.request.query
    span = span_of(visit, query.get("span", "7d"))
    given = {name: query[name] for name in ("because", "shown", "template_id") if name in query}
    try:
        asked: AskedExamples = read(examples, {**given, "hours": span.hours, "limit": MOST})
    except Refused:  # nobody's link
        raise not_found() from None
    found = await visit.run(examples, asked)
    return visit.render(
        "operations/examples.html", asked=asked, given=given, found=found, span=span, spans=spans(visit), advice=advice,
        most=MOST,
    )  # fmt: skip
