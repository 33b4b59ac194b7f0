"""SFTP source: folders that event files are read from, each with a test that the ingest service does."""

from typing import Annotated, Final

from aiohttp import web
from pydantic import BaseModel, Field, SecretStr

from services.console.web.errors import not_found
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin import sources
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing

pages = Pages()

WAIT_S: Final = 30.0
"""Real seconds after which an answer is not waited for any more."""

_Text = Annotated[str, Field(max_length=500)]


class TypedSource(BaseModel):
    """What is typed of a source; for one that is there, what is left empty stays."""

    name: _Text
    host: _Text
    port: sources.Port = 22
    user: _Text
    path: _Text = "."
    pattern: _Text = "*"
    host_key: Annotated[str, Field(max_length=5_000)]
    private_key: SecretStr
    poll_s: sources.PollS = 60


class ChangedSource(BaseModel):
    """The same without a name, which stays."""

    host: _Text
    port: sources.Port = 22
    user: _Text
    path: _Text = "."
    pattern: _Text = "*"
    host_key: Annotated[str, Field(max_length=5_000)]
    private_key: SecretStr | None = None
    poll_s: sources.PollS = 60


@pages.page("GET", "/{org}/integration/sources", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """All sources, and a form for another."""
    return await _show_all(visit, Form())


@pages.page("POST", "/{org}/integration/sources", role="owner")
async def add(visit: Visit) -> web.StreamResponse:
    """A new one; it is tested next."""
    given, form = await read_form(visit.request, TypedSource)
    if given is None:
        return await _show_all(visit, form)
    try:
        await visit.run(sources.add, sources.AddSource(**dict(given)))
    except AdminError as error:
        _put(form, error)
        return await _show_all(visit, form)
    await visit.notice(f"Source {given.name} is saved. Test it now.")
    return visit.see_other(visit.path("integration", "sources", given.name))


@pages.page("GET", "/{org}/integration/sources/{name}", role="viewer")
async def show_one(visit: Visit) -> web.StreamResponse:
    """One source; with `asked`, also what its test has come to."""
    return await _show_one(visit)


@pages.page("POST", "/{org}/integration/sources/{name}", role="owner")
async def change(visit: Visit) -> web.StreamResponse:
    """Another server, folder or key."""
    given, form = await read_form(visit.request, ChangedSource)
    if given is None:
        return await _show_one(visit, form)
    try:
        await visit.run(sources.set_source, sources.SetSource(name=visit.value("name"), **dict(given)))
    except AdminError as error:
        _put(form, error)
        return await _show_one(visit, form)
    await visit.notice("The source is saved. Test it now.")
    return visit.see_other(visit.path("integration", "sources", visit.value("name")))


@pages.page("POST", "/{org}/integration/sources/{name}/test", role="editor")
async def test(visit: Visit) -> web.StreamResponse:
    """Asked of the ingest service; the next page waits for its answer."""
    name = visit.value("name")
    try:
        asked = await visit.run(sources.list_now, sources.OneSource(name=name))
    except AdminError as error:
        await visit.notice(f"Nothing was tested: {error}.", "warn")
        return visit.see_other(visit.path("integration", "sources", name))
    real = visit.console.people.clock.now()
    query = f"?asked={asked.asked_at.timestamp():.6f}&since={real.timestamp():.0f}"
    return visit.see_other(visit.path("integration", "sources", name) + query)


@pages.page("POST", "/{org}/integration/sources/{name}/switch", role="owner")
async def switch(visit: Visit) -> web.StreamResponse:
    """Read it, or leave it alone."""
    name = visit.value("name")
    one = await _one(visit, name)
    await visit.run(sources.set_source, sources.SetSource(name=name, enabled=not one.enabled))
    await visit.notice(f"Source {name} is {'left alone' if one.enabled else 'read'} from now on.")
    return visit.see_other(visit.path("integration", "sources", name))


def _put(form: Form, error: AdminError) -> None:
    form.refuse_all(error)
    if error.field and not form.error(error.field):
        form.errors.pop("", None)
        form.refuse(error.field, error.message)


async def _one(visit: Visit, name: str) -> sources.Source:
    found = (await visit.run(sources.list_sources, Nothing())).sources
    one = next((one for one in found if one.name == name), None)
    if one is None:
        raise not_found()
    return one


async def _show_all(visit: Visit, form: Form) -> web.Response:
    found = (await visit.run(sources.list_sources, Nothing())).sources
    return visit.render("settings/sources.html", 422 if form.faulty else 200, form=form, sources=found)


async def _show_one(visit: Visit, form: Form | None = None) -> web.Response:
    one = await _one(visit, visit.value("name"))
    if form is None:
        typed = {
            **one.model_dump(include={"host", "port", "path", "pattern", "host_key", "poll_s"}),
            "user": one.username,
        }
        form = Form({name: str(value) for name, value in typed.items()})
    waiting = _state(visit, one)
    return visit.render(
        "settings/source.html", 422 if form.faulty else 200, one=one, form=form, waiting=waiting,
        here_query=visit.request.path_qs, wait_s=WAIT_S,
    )  # fmt: skip


def _state(visit: Visit, one: sources.Source) -> str:
    """`none` asked, `waiting`, `late`, or `answered`."""
    try:
        asked, since = float(visit.request.query["asked"]), float(visit.request.query["since"])
    except (KeyError, ValueError):
        return "none"
    newest = max((at for at in (one.last_polled_at, one.last_error_at) if at is not None), default=None)
    if newest is not None and newest.timestamp() >= asked:
        return "answered"
    return "late" if visit.console.people.clock.now().timestamp() - since > WAIT_S else "waiting"
