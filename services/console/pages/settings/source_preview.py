"""Preview of a source's file: how it would be read, and a mapping that is set by hand where names do not tell."""

from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, create_model

from services.console.web.errors import not_found
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.uploads import posted_of
from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.admin.sources import sources
from shared.admin.sources import trying as source_trying
from shared.errors import Failure
from shared.event_fields import EVENT_FIELDS, HASH, REQUIRED_FIELDS
from shared.sentences import ended

pages = Pages()

_PREFIX = "map_"
_fields: Any = {f"{_PREFIX}{field}": (str | None, None) for field in EVENT_FIELDS}
TypedMapping: type[BaseModel] = create_model("TypedMapping", file=(str | None, None), **_fields)
"""The form: of which file, and for each field the column that was chosen; none: by its name."""


@pages.page("GET", "/{org}/integration/sources/{name}/preview", role="editor")
async def show(visit: Visit) -> web.StreamResponse:
    """The newest file, or `file`, as the source's mapping says."""
    one = await _one(visit)
    return await _show(visit, one, one.mapping or {}, visit.request.query.get("file") or None)


@pages.page("POST", "/{org}/integration/sources/{name}/preview", role="editor")
async def show_mapped(visit: Visit) -> web.StreamResponse:
    """The same as another mapping says, which is not saved."""
    one = await _one(visit)
    mapping, file, _ = await _typed(visit)
    return await _show(visit, one, mapping, file)


@pages.page("POST", "/{org}/integration/sources/{name}/mapping", role="owner")
async def save(visit: Visit) -> web.StreamResponse:
    """Files that are loaded from now on are read so."""
    one = await _one(visit)
    mapping, file, form = await _typed(visit)
    try:
        await visit.run(sources.set_source, sources.SetSource(name=one.name, mapping=mapping))
    except AdminError as error:
        form.refuse_all(error)
        return await _show(visit, one, mapping, file, form)
    await visit.notice("The mapping is saved. Load held files again under Operations, Sources.")
    return visit.see_other(visit.path("integration", "sources", one.name))


async def _typed(visit: Visit) -> tuple[dict[str, str], str | None, Form]:
    """Columns as they were chosen, with the spaces that their names may have."""
    given, form = await read_form(visit.request, TypedMapping)
    posted = await posted_of(visit.request)
    chosen = {field: posted.get(f"{_PREFIX}{field}") for field in EVENT_FIELDS}
    mapping = {field: column for field, column in chosen.items() if isinstance(column, str) and column}
    return (mapping if given is not None else {}), (getattr(given, "file", None)), form


async def _one(visit: Visit) -> sources.Source:
    found = (await visit.run(sources.list_sources, Nothing())).sources
    one = next((one for one in found if one.name == visit.value("name")), None)
    if one is None:
        raise not_found()
    return one


async def _show(
    visit: Visit, one: sources.Source, mapping: dict[str, str], file: str | None, form: Form | None = None
) -> web.Response:
    form = form or Form()
    found, failed = None, ""
    try:
        asked = source_trying.PreviewSource(name=one.name, file=file, mapping=mapping)
        found = await visit.run(source_trying.preview, asked)
    except Failure as error:
        failed = f"The message broker could not be reached: {ended(str(error))}"
    return visit.render(
        "settings/source_preview.html", 422 if form.faulty else 200, one=one, form=form, found=found, failed=failed,
        mapping=mapping, file=file, changed=mapping != (one.mapping or {}), fields=EVENT_FIELDS,
        required=REQUIRED_FIELDS, hash=HASH, moment_of=datetime.fromisoformat, wait_s=source_trying.PROBE_WAIT_S,
    )  # fmt: skip
