"""The emails behind a number of the results, and the files behind an email."""

from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import NotFound, Refused
from shared.admin.results import sends
from shared.admin.results.sends import AskedSend

pages = Pages()

WHAT: Final = {
    "sent": "Sent", "delivered": "Delivered", "opened": "Opened by people",
    "machine_opened": "Opened by machines alone", "clicked": "Clicked by people",
    "bot_clicked": "Clicked by bots alone", "unsubscribed": "Unsubscribed", "spam": "Marked as spam",
}  # fmt: skip
_ARMS: Final = ("treatment", "control")
_KEPT: Final = ("since", "until", "arm", "variant", "attr", "value", "what")


@pages.page("GET", "/{org}/results/{template}/sends", role="editor")
async def list_sends(visit: Visit) -> web.StreamResponse:
    """As a link on the results asks for them. What is no word of ours is left out."""
    query, template_id = visit.request.query, visit.value("template")
    asked: dict[str, Any] = {name: query[name] for name in (*_KEPT, "after") if query.get(name)}
    if asked.get("what") not in WHAT:
        asked["what"] = "delivered"
    if asked.get("arm") not in _ARMS:
        asked.pop("arm", None)
    if "attr" not in asked:
        asked.pop("value", None)
    problem, found = "", None
    try:
        found = await visit.run(sends.list_sends, {**asked, "template_id": template_id})
    except NotFound as error:
        if error.field != "variant":
            raise
        problem = str(error)
    except Refused as error:
        problem = str(error)
    here = visit.path("results", template_id, "sends")
    kept: dict[str, Any] = {name: asked[name] for name in _KEPT if name in asked}
    links = {what: f"{here}?{urlencode({**kept, 'what': what})}" for what in WHAT}
    more = f"{here}?{urlencode({**kept, 'after': found.next})}" if found and found.next else None
    return visit.render(
        "results/sends.html", 422 if problem else 200, template_id=template_id, found=found, asked=asked, what=WHAT,
        links=links, more=more, problem=problem,
    )  # fmt: skip


@pages.page("GET", "/{org}/operations/sends/{send}", role="editor")
async def show(visit: Visit) -> web.StreamResponse:
    """One email, to file and line."""
    found = await visit.run(sends.show, AskedSend(transmission_id=visit.value("send")))
    return visit.render("operations/send.html", send=found)
