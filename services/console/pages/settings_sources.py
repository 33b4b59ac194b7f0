"""SFTP source: folders that event files are read from, each with a test that the ingest service does."""

from typing import Annotated, Final

from aiohttp import web
from pydantic import BaseModel, Field, SecretStr

from services.console.web.errors import not_found
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin import source_trying, sources
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.errors import Failure

pages = Pages()

WAIT_S: Final = source_trying.PROBE_WAIT_S
_LABELS: Final = {
    "host": "Server", "port": "Port", "user": "User", "path": "Folder", "pattern": "Files",
    "host_key": "The server's public key", "private_key": "Our private key for it",
    "poll_s": "Seconds between listings", "": "",
}  # fmt: skip

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


class TriedSource(ChangedSource):
    """A source without a name that is not saved yet."""

    private_key: SecretStr


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
    """One source, with its test."""
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


@pages.page("POST", "/{org}/integration/try-source", role="owner")
async def try_new(visit: Visit) -> web.StreamResponse:
    """What was typed, before it is saved."""
    given, form = await read_form(visit.request, TriedSource)
    tested, failed = await _try(visit, given, form)
    if visit.is_htmx:
        return _tested(visit, tested, failed)
    return await _show_all(visit, form, tested=tested, failed=failed)


@pages.page("POST", "/{org}/integration/sources/{name}/test", role="editor")
async def test(visit: Visit) -> web.StreamResponse:
    """As it is stored; whoever asked waits, and the answer is shown, not kept."""
    tested, failed = None, ""
    try:
        tested = await visit.run(source_trying.try_stored, sources.OneSource(name=visit.value("name")))
    except Failure as error:
        failed = _no_broker(error)
    if visit.is_htmx:
        return _tested(visit, tested, failed, one=await _one(visit, visit.value("name")))
    return await _show_one(visit, tested=tested, failed=failed)


@pages.page("POST", "/{org}/integration/sources/{name}/try", role="owner")
async def try_changed(visit: Visit) -> web.StreamResponse:
    """A stored one with what was typed in place of what is stored."""
    given, form = await read_form(visit.request, ChangedSource)
    tested, failed = await _try(visit, given, form, visit.value("name"))
    if visit.is_htmx:
        return _tested(visit, tested, failed)
    return await _show_one(visit, form, tested=tested, failed=failed)


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


async def _try(
    visit: Visit, given: ChangedSource | None, form: Form, name: str | None = None
) -> tuple[source_trying.SourceTested | None, str]:
    """What came of it, or why nothing was tried; what is wrong with a field is put to it."""
    if given is None:
        return None, _faults(form)
    # Of the form's fields those that say where the files are: how often they are listed is not tried.
    typed = source_trying.TrySource(name=name, **{field: value for field, value in given if field != "poll_s"})
    try:
        return await visit.run(source_trying.try_typed, typed), ""
    except AdminError as error:
        _put(form, error)
        return None, _faults(form)
    except Failure as error:
        return None, _no_broker(error)


def _faults(form: Form) -> str:
    faults = (f"{_LABELS.get(name, name)} {why}".strip() for name, why in form.errors.items())
    return f"Nothing was tried: {'; '.join(faults)}."


def _no_broker(error: Failure) -> str:
    return f"The message broker could not be reached: {error}."


def _tested(
    visit: Visit, tested: source_trying.SourceTested | None, failed: str, one: sources.Source | None = None
) -> web.Response:
    return visit.render("settings/_source_tested.html", tested=tested, failed=failed, one=one, wait_s=WAIT_S)


async def _show_all(
    visit: Visit, form: Form, *, tested: source_trying.SourceTested | None = None, failed: str = ""
) -> web.Response:
    found = (await visit.run(sources.list_sources, Nothing())).sources
    return visit.render(
        "settings/sources.html", 422 if form.faulty else 200, form=form, sources=found, one=None, tested=tested,
        failed=failed, wait_s=WAIT_S,
    )  # fmt: skip


async def _show_one(
    visit: Visit, form: Form | None = None, *, tested: source_trying.SourceTested | None = None, failed: str = ""
) -> web.Response:
    one = await _one(visit, visit.value("name"))
    typing = form is not None
    if form is None:
        typed = {
            **one.model_dump(include={"host", "port", "path", "pattern", "host_key", "poll_s"}),
            "user": one.username,
        }
        form = Form({name: str(value) for name, value in typed.items()})
    return visit.render(
        "settings/source.html", 422 if form.faulty else 200, one=one, form=form, typing=typing, tested=tested,
        failed=failed, wait_s=WAIT_S,
    )  # fmt: skip
