"""Sources: folders that event files are read from, each with a test that the ingest service does."""

from typing import Annotated, Any, Final, get_args

from aiohttp import web
from pydantic import BaseModel, Field, SecretStr

from services.console.web.errors import not_found
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.admin.sources import sources
from shared.admin.sources import trying as source_trying
from shared.admin.sources.kinds import DEFAULT_REGION, Bucket, Endpoint, Kind, Region
from shared.errors import Failure
from shared.sentences import ended

pages = Pages()

WAIT_S: Final = source_trying.PROBE_WAIT_S
KINDS: Final = {"sftp": "SFTP server", "folder": "Folder of ours", "s3": "S3 bucket", "klaviyo": "Klaviyo's API"}
_LABELS: Final = {
    "host": "Server", "port": "Port", "user": "User", "path": "Folder", "pattern": "Files",
    "host_key": "The server's public key", "private_key": "Our private key for it", "bucket": "Bucket",
    "region": "Region", "endpoint_url": "Endpoint", "access_key": "Access key", "secret_key": "Its secret",
    "poll_s": "Seconds between listings", "": "",
}  # fmt: skip
_PROPOSED: Final = {"sftp": "klaviyo-events", "folder": "event-folder", "s3": "event-bucket", "klaviyo": "klaviyo-api"}
_OF_EACH: Final = ("path", "pattern", "poll_s")
_SHOWN: Final = {
    "sftp": ("host", "port", "user", "host_key"),
    "folder": (),
    "s3": ("bucket", "region", "endpoint_url", "access_key"),
    "klaviyo": (),
}
"""What a stored source's form shows of its own kind; secrets never."""

_Text = Annotated[str, Field(max_length=500)]


class TypedPlace(BaseModel):
    """What is typed of a source of any kind."""

    path: _Text = "."
    pattern: _Text = "*"
    poll_s: sources.PollS = 60


class TypedSftp(TypedPlace):
    """On somebody's server. Of one that is there, a key that is left empty stays."""

    host: _Text
    port: sources.Port = 22
    user: _Text
    host_key: Annotated[str, Field(max_length=5_000)]
    private_key: SecretStr | None = None


class TypedBucket(TypedPlace):
    """In S3. What is emptied of a stored one is taken away, but the secret, which stays."""

    bucket: Bucket
    region: Region = DEFAULT_REGION
    endpoint_url: Endpoint = ""
    access_key: _Text = ""
    secret_key: SecretStr | None = None


_MODELS: Final[dict[str, type[TypedPlace]]] = {
    "sftp": TypedSftp,
    "folder": TypedPlace,
    "s3": TypedBucket,
    "klaviyo": TypedPlace,
}


class Named(BaseModel):
    """What a new source has besides."""

    name: _Text
    kind: Kind = "sftp"


class Chosen(BaseModel):
    """Which kind of source is typed."""

    kind: Kind = "sftp"


@pages.page("GET", "/{org}/integration/sources", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """All sources, and a form for another of the kind that is chosen."""
    return await _show_all(visit, Form(), _kind_of(visit.request.query.get("kind")))


@pages.page("POST", "/{org}/integration/sources", role="owner")
async def add(visit: Visit) -> web.StreamResponse:
    """A new one; it is tested next."""
    named, name_form = await read_form(visit.request, Named)
    kind = named.kind if named is not None else await _chosen(visit)
    given, form = await read_form(visit.request, _MODELS[kind])
    form = _joined(name_form, form)
    if given is None or named is None:
        return await _show_all(visit, form, kind)
    try:
        await visit.run(sources.add, sources.AddSource(name=named.name, kind=kind, **_asked(given)))
    except AdminError as error:
        form.refuse_all(error)
        return await _show_all(visit, form, kind)
    await visit.notice(f"Source {named.name} is saved. Test it now.")
    return visit.see_other(visit.path("integration", "sources", named.name))


@pages.page("GET", "/{org}/integration/sources/{name}", role="viewer")
async def show_one(visit: Visit) -> web.StreamResponse:
    """One source, with its test."""
    return await _show_one(visit)


@pages.page("POST", "/{org}/integration/sources/{name}", role="owner")
async def change(visit: Visit) -> web.StreamResponse:
    """Another server, folder or key."""
    one = await _one(visit, visit.value("name"))
    given, form = await read_form(visit.request, _model_of(one))
    if given is None:
        return await _show_one(visit, form)
    try:
        await visit.run(sources.set_source, sources.SetSource(name=one.name, **_asked(given, changed=True)))
    except AdminError as error:
        form.refuse_all(error)
        return await _show_one(visit, form)
    await visit.notice("The source is saved. Test it now.")
    return visit.see_other(visit.path("integration", "sources", visit.value("name")))


@pages.page("POST", "/{org}/integration/try-source", role="owner")
async def try_new(visit: Visit) -> web.StreamResponse:
    """What was typed, before it is saved."""
    kind = await _chosen(visit)
    given, form = await read_form(visit.request, _MODELS[kind])
    tested, failed = await _try(visit, given, form, kind=kind)
    if visit.is_htmx:
        return _tested(visit, tested, failed)
    return await _show_all(visit, form, kind, tested=tested, failed=failed)


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
    one = await _one(visit, visit.value("name"))
    given, form = await read_form(visit.request, _model_of(one))
    tested, failed = await _try(visit, given, form, name=one.name)
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


@pages.page("POST", "/{org}/integration/sources/{name}/remove", role="owner")
async def remove(visit: Visit) -> web.StreamResponse:
    """It and its keys; what it brought stays."""
    name = visit.value("name")
    await visit.run(sources.remove, sources.OneSource(name=name))
    await visit.notice(f"Source {name} is removed. What it brought stays and counts.")
    return visit.see_other(visit.path("integration", "sources"))


def _kind_of(text: str | None) -> Kind:
    return next((kind for kind in get_args(Kind) if kind == text), "sftp")


async def _chosen(visit: Visit) -> Kind:
    chosen, _ = await read_form(visit.request, Chosen)
    return chosen.kind if chosen is not None else "sftp"


def _model_of(one: sources.Source) -> type[TypedPlace]:
    """Of kinds that people do not add here, only what every kind has can be changed."""
    return _MODELS.get(one.kind, TypedPlace)


def _asked(given: TypedPlace, *, changed: bool = False) -> dict[str, Any]:
    """As an operation is asked. What is empty of a new source is not said; of a stored one it is taken away."""
    return {name: value for name, value in given if value is not None and (changed or value != "")}


def _joined(one: Form, other: Form) -> Form:
    other.take(one)
    return other


async def _one(visit: Visit, name: str) -> sources.Source:
    found = (await visit.run(sources.list_sources, Nothing())).sources
    one = next((one for one in found if one.name == name), None)
    if one is None:
        raise not_found()
    return one


async def _try(
    visit: Visit, given: TypedPlace | None, form: Form, *, name: str | None = None, kind: Kind | None = None
) -> tuple[source_trying.SourceTested | None, str]:
    """What came of it, or why nothing was tried; what is wrong with a field is put to it."""
    if given is None:
        return None, _faults(form)
    # Of the form's fields those that say where the files are: how often they are listed is not tried.
    asked = _asked(given, changed=name is not None)
    del asked["poll_s"]
    try:
        typed = source_trying.TrySource(name=name, kind=kind, **asked)
        return await visit.run(source_trying.try_typed, typed), ""
    except AdminError as error:
        form.refuse_all(error)
        return None, _faults(form)
    except Failure as error:
        return None, _no_broker(error)


def _faults(form: Form) -> str:
    faults = (f"{_LABELS.get(name, name)} {why}".strip() for name, why in form.errors.items())
    return f"Nothing was tried: {'; '.join(faults)}."


def _no_broker(error: Failure) -> str:
    return f"The message broker could not be reached: {ended(str(error))}"


def _tested(
    visit: Visit, tested: source_trying.SourceTested | None, failed: str, one: sources.Source | None = None
) -> web.Response:
    return visit.render("settings/_source_tested.html", tested=tested, failed=failed, one=one, wait_s=WAIT_S)


async def _show_all(
    visit: Visit, form: Form, kind: Kind, *, tested: source_trying.SourceTested | None = None, failed: str = ""
) -> web.Response:
    found = (await visit.run(sources.list_sources, Nothing())).sources
    return visit.render(
        "settings/sources.html", 422 if form.faulty else 200, form=form, sources=found, one=None, tested=tested,
        failed=failed, wait_s=WAIT_S, kind=kind, kinds=KINDS,
        proposed="" if any(one.name == _PROPOSED[kind] for one in found) else _PROPOSED[kind],
    )  # fmt: skip


async def _show_one(
    visit: Visit, form: Form | None = None, *, tested: source_trying.SourceTested | None = None, failed: str = ""
) -> web.Response:
    one = await _one(visit, visit.value("name"))
    typing = form is not None
    if form is None:
        row = one.model_dump() | {"user": one.username}
        form = Form({name: str(row[name]) for name in (*_OF_EACH, *_SHOWN.get(one.kind, ()))})
    return visit.render(
        "settings/source.html", 422 if form.faulty else 200, one=one, form=form, typing=typing, tested=tested,
        failed=failed, wait_s=WAIT_S, kind=one.kind, kinds=KINDS,
    )  # fmt: skip
