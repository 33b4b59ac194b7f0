"""Past days of a source that is Klaviyo's events."""

from datetime import date
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, BeforeValidator

from services.console.pages.operations.sources import show_source
from services.console.web.forms import read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.sources import backfilling

pages = Pages()


def _day(text: str) -> date:
    """As a browser's field says it, or by hand."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("is no day; write 2026-11-23") from None


Day = Annotated[date, BeforeValidator(_day)]


class TypedDays(BaseModel):
    """Days in UTC; the end is exclusive."""

    since: Day
    until: Day


@pages.page("POST", "/{org}/operations/sources/{source}/backfill", role="editor")
async def backfill(visit: Visit) -> web.StreamResponse:
    """Have them read."""
    given, form = await read_form(visit.request, TypedDays)
    if given is None:
        return await show_source(visit, form)
    name = visit.value("source")
    try:
        done = await visit.run(backfilling.backfill, {"name": name, **given.model_dump()})
    except AdminError as error:
        form.refuse_all(error)
        return await show_source(visit, form)
    if done.changed:
        await visit.notice("These days are read, one after the other; open the page again to see how far they are.")
    else:
        await visit.notice("These days were asked for before and are not all read yet; that goes on.", "info")
    return visit.see_other(visit.path("operations", "sources", name))
