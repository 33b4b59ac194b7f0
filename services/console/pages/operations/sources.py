"""Ingest: how far each source of event files is behind, what it refused, and loading files again."""

from aiohttp import web
from pydantic import BaseModel

from services.console.pages.operations.words import counted
from services.console.web.advice import advice
from services.console.web.errors import not_found
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.admin.sources import accepting as source_accepting
from shared.admin.sources import files as source_files
from shared.admin.sources import sources, unmatched
from shared.admin.sources.accepting import AcceptFile
from shared.admin.sources.files import AskedFiles, AskedRejects, RetryFiles
from shared.admin.sources.sources import RescanSource, Source
from shared.errors import Failure
from shared.sentences import ended
from shared.unmatched import KEPT_DAYS

pages = Pages()

_FILES = 100
_REJECTS = 200
_MESSAGES = 20


class OneFile(BaseModel):
    """By its path in the folder; none: all that are held or failed."""

    file: str | None = None


@pages.page("GET", "/{org}/operations/sources", role="viewer")
async def list_all(visit: Visit) -> web.StreamResponse:
    """Each with its lag, and what of their events waits for a generation."""
    found = (await visit.run(sources.list_sources, Nothing())).sources
    waiting = await visit.run(unmatched.waiting, unmatched.AskedWaiting(limit=_MESSAGES))
    return visit.render("operations/sources.html", sources=found, waiting=waiting, kept_days=KEPT_DAYS, advice=advice)


@pages.page("GET", "/{org}/operations/sources/{source}", role="viewer")
async def one(visit: Visit) -> web.StreamResponse:
    """Its newest files."""
    return await show_source(visit, Form())


async def show_source(visit: Visit, form: Form) -> web.Response:
    """The page of a source, with what was typed into a form of it."""
    source = await _source(visit)
    files = (await visit.run(source_files.list_files, AskedFiles(name=source.name, limit=_FILES))).files
    much = None
    if visit.may("editor"):
        much = await visit.run(sources.rescan, RescanSource(name=source.name, everything=True, dry_run=True))
    return visit.render(
        "operations/source.html", 422 if form.faulty else 200, source=source, files=files, much=much, form=form
    )  # fmt: skip


@pages.page("GET", "/{org}/operations/sources/{source}/rejects", role="editor")
async def rejects(visit: Visit) -> web.StreamResponse:
    """Rows of a file that are no events, with people's values."""
    source, file = await _source(visit), visit.request.query.get("file", "")
    found = (
        await visit.run(source_files.list_rejects, AskedRejects(name=source.name, file=file, limit=_REJECTS))
    ).rejects
    return visit.render("operations/rejects.html", source=source, file=file, rejects=found, most=_REJECTS)


@pages.page("POST", "/{org}/operations/sources/{source}/retry", role="editor")
async def retry(visit: Visit) -> web.StreamResponse:
    """Held and failed files, or one, are loaded again."""
    name = (await _source(visit)).name
    given, _ = await read_form(visit.request, OneFile)
    try:
        done = (await visit.run(source_files.retry, RetryFiles(name=name, file=given.file if given else None))).files
    except (AdminError, Failure) as error:
        await visit.notice(f"Nothing is loaded again: {ended(str(error))}", "bad")
    else:
        await visit.notice(f"{counted(len(done), 'file is', 'files are')} loaded again.")
    return visit.see_other(visit.path("operations", "sources", name))


@pages.page("POST", "/{org}/operations/sources/{source}/accept", role="editor")
async def accept(visit: Visit) -> web.StreamResponse:
    """The good rows of a file that is held for its bad ones."""
    name = (await _source(visit)).name
    given, _ = await read_form(visit.request, OneFile)
    try:
        asked = AcceptFile(name=name, file=(given.file if given else None) or "")
        done = await visit.run(source_accepting.accept, asked)
    except (AdminError, Failure) as error:
        await visit.notice(f"It is not loaded: {ended(str(error))}", "bad")
    else:
        await visit.notice(f"{done.file} is loaded as it is; its bad rows stay rejects.")
    return visit.see_other(visit.path("operations", "sources", name))


@pages.page("POST", "/{org}/operations/sources/{source}/list", role="editor")
async def rescan(visit: Visit) -> web.StreamResponse:
    """Do not wait for the next listing."""
    name = (await _source(visit)).name
    try:
        await visit.run(sources.rescan, RescanSource(name=name))
    except AdminError as error:
        await visit.notice(f"It is not listed: {ended(str(error))}", "bad")
    else:
        await visit.notice("The folder is listed within a second or so; open the page again to see what came of it.")
    return visit.see_other(visit.path("operations", "sources", name))


@pages.page("POST", "/{org}/operations/sources/{source}/reread", role="editor")
async def reread(visit: Visit) -> web.StreamResponse:
    """Every file that is still there."""
    name = (await _source(visit)).name
    try:
        much = await visit.run(sources.rescan, RescanSource(name=name, everything=True))
    except AdminError as error:
        await visit.notice(f"Nothing is read again: {ended(str(error))}", "bad")
    else:
        await visit.notice(
            f"The folder is listed now, and at most {counted(much.files, 'file is', 'files are')} read again."
        )
    return visit.see_other(visit.path("operations", "sources", name))


async def _source(visit: Visit) -> Source:
    name = visit.value("source")
    found = (await visit.run(sources.list_sources, Nothing())).sources
    source = next((one for one in found if one.name == name), None)
    if source is None:
        raise not_found()
    return source
