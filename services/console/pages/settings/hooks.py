"""Hooks: where Klaviyo's system webhooks send events to, with a secret that is shown when it is made."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.admin.sources import hooks, sources
from shared.admin.sources.sources import OneSource

pages = Pages()


class NewHook(BaseModel):
    """What is typed for a new one."""

    name: Annotated[str, Field(max_length=200)]


@pages.page("GET", "/{org}/integration/hooks", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """All hooks, and a form for another."""
    return await _show(visit, Form())


@pages.page("POST", "/{org}/integration/hooks", role="owner")
async def create(visit: Visit) -> web.StreamResponse:
    """Another one; its secret is shown this once."""
    given, form = await read_form(visit.request, NewHook)
    if given is None:
        return await _show(visit, form)
    try:
        made = await visit.run(hooks.create, OneSource(name=given.name))
    except AdminError as error:
        form.refuse_all(error)
        return await _show(visit, form)
    return await _show(visit, Form(), made=made)


@pages.page("POST", "/{org}/integration/hooks/{name}/rotate", role="owner")
async def rotate(visit: Visit) -> web.StreamResponse:
    """Another secret; the old one goes on for a day."""
    made = await visit.run(hooks.rotate, hooks.RotateHook(name=visit.value("name")))
    return await _show(visit, Form(), made=made, rotated=True)


async def _show(visit: Visit, form: Form, made: hooks.HookMade | None = None, *, rotated: bool = False) -> web.Response:
    found = (await visit.run(sources.list_sources, Nothing())).sources
    hooked = [one for one in found if one.kind == "webhook"]
    shown = {one.name: await visit.run(hooks.show, OneSource(name=one.name)) for one in hooked}
    return visit.render(
        "settings/hooks.html", 422 if form.faulty else 200, form=form, sources=hooked, shown=shown, made=made,
        rotated=rotated, keeps_h=hooks.KEEPS_H, gateway=visit.console.settings.console_gateway_url.rstrip("/"),
    )  # fmt: skip
