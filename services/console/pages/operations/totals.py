"""Our counts beside Klaviyo's own totals."""

from typing import Final

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.admin.sources import reconciliation
from shared.admin.sources.reconciliation import BASES, UNITS, AskedTotals
from shared.sentences import ended

pages = Pages()

_TONES: Final = {
    "agrees": "good",
    "file_late": "info",
    "klaviyo_late": "info",
    "klaviyo_leaves_machines_out": "info",
    "links_left_out": "info",
    "attribution_differs": "info",
    "time_zone": "info",
    "before_first_file": "info",
}
"""A cause that is no reason to do anything; all others are."""


@pages.page("GET", "/{org}/operations/totals", role="viewer")
async def totals(visit: Visit) -> web.StreamResponse:
    """The last comparison."""
    everything = visit.request.query.get("all") == "1"
    try:
        found = await visit.run(reconciliation.totals, AskedTotals(all=everything))
    except AdminError:
        found = None  # not connected to Klaviyo
    return visit.render(
        "operations/totals.html", totals=found, everything=everything, tones=_TONES, bases=BASES, units=UNITS
    )


@pages.page("POST", "/{org}/operations/totals/compare", role="editor")
async def compare(visit: Visit) -> web.StreamResponse:
    """Do not wait for the hour."""
    try:
        await visit.run(reconciliation.compare, Nothing())
    except AdminError as error:
        await visit.notice(f"Nothing is compared: {ended(str(error))}", "bad")
    else:
        await visit.notice("It is compared within a minute or so; open the page again to see what came of it.")
    return visit.see_other(visit.path("operations", "totals"))
