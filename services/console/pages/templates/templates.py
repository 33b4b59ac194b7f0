"""Templates: the list, a new one, its life, its stop, and its file."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Final
from unicodedata import normalize

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.pages.templates import choice as template_choice
from services.console.web.ask_back import agreed, ask_back
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.paging import Paging
from services.console.web.visit import Visit
from shared.admin import stops
from shared.admin.drafts import drafts
from shared.admin.errors import Conflict, NotFound, Refused
from shared.admin.operation import Nothing
from shared.admin.templates import prefixes, templates
from shared.admin.templates import search as template_search
from shared.admin.templates import settings as template_settings
from shared.admin.templates import writing as template_writing
from shared.admin.templates.one import OneTemplate
from shared.admin.templates.templates import State, Template
from shared.admin.variants.variants import Variants, list_variants
from shared.admin.yaml_text import BadYaml, one_document
from shared.sentences import ended

pages = Pages()

STATES: Final[Mapping[str, str]] = {
    "draft": "People get the control content.",
    "active": "Variants are chosen and learned from.",
    "shipped": "The split has ended: everybody but the holdout gets our copy; variants and the ranker go on.",
    "archived": "People get the control content; nothing is chosen any more.",
}


LIVE: Final = frozenset({"active", "shipped"})
SNIPPET_CHANGES: Final = (
    "The email snippet changes. Until it is pasted into the Treatment Message again, emails go on with the snippet "
    "that is there: it shows its own control content, and no copy that is written for another flow, message or prefix."
)

RUN_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "queued": ("Waiting", "info"), "running": ("Drafting", "info"), "done": ("Done", "good"),
    "failed": ("Failed", "bad"), "cancelled": ("Cancelled", "faint"),
}  # fmt: skip
"""By a run's state, its word and the tone of it."""


class NewTemplate(BaseModel):
    """What a template begins with."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    template_id: Annotated[str, Field(max_length=64)] = ""
    property_prefix: Annotated[str, Field(max_length=32)] = "jai"
    subject: Annotated[str, Field(min_length=1)]
    preheader: str = ""
    body: Annotated[str, Field(min_length=1)]


class NewState(BaseModel):
    """Where it is led."""

    state: State


class Reason(BaseModel):
    """Why it is stopped."""

    reason: Annotated[str, Field(max_length=1000)] = ""


class GivenYaml(BaseModel):
    """A template's file."""

    yaml: Annotated[str, Field(min_length=1, max_length=900_000)]


@pages.page("GET", "/{org}/templates", role="viewer")
async def list_page(visit: Visit) -> web.StreamResponse:
    """All templates, or those that are looked for."""
    query = visit.request.query
    paging, search, state = Paging.of(query), query.get("search", "").strip(), query.get("state", "")
    asked = {"search": search, "state": state or None, "limit": paging.limit, "offset": paging.offset}
    try:
        found = await visit.run(template_search.search, asked)
    except Refused:  # nobody's link
        search, state = "", ""
        found = await visit.run(template_search.search, {"limit": paging.limit, "offset": paging.offset})
    part = paging.cut(found.templates, visit.path("templates"), {"search": search, "state": state})
    return visit.render(
        "templates/list.html", part=part, counts=found.counts, search=search, state=state, states=STATES
    )


@pages.page("GET", "/{org}/templates/_new", role="editor")
async def new(visit: Visit) -> web.StreamResponse:
    """The form of a new one, and the way in for a file."""
    return await _show_new(visit)


async def _show_new(visit: Visit, form: Form | None = None, file_form: Form | None = None) -> web.Response:
    """With a prefix that is nobody's yet: two emails that share one overwrite each other on whoever gets both."""
    found = await visit.run(templates.list_templates, Nothing())
    holders = {one.property_prefix: one.name for one in reversed(found.templates) if one.state != "archived"}
    free = (await visit.run(prefixes.free_prefix, Nothing())).property_prefix
    return visit.render(
        "templates/new.html", 422 if any(one and one.faulty for one in (form, file_form)) else 200,
        form=form or Form({"property_prefix": free}), file_form=file_form or Form(), free=free,
        holder=holders.get("jai"),
    )  # fmt: skip


@pages.page("POST", "/{org}/templates/_new", role="editor")
async def create(visit: Visit) -> web.StreamResponse:
    """Make it."""
    given, form = await read_form(visit.request, NewTemplate)
    if given is not None:
        try:
            given.template_id = given.template_id or id_of(given.name)
            made = await visit.run(template_writing.create, {**given.model_dump(), "body": as_written(given.body)})
        except (Refused, Conflict) as error:
            form.refuse_all(error)
        else:
            await visit.notice(f"{made.name} is there, as a draft. Select its flow here.")
            return visit.see_other(visit.path("templates", made.template_id, "settings"))
    return await _show_new(visit, form)


def id_of(name: str) -> str:
    """A template id that people recognise the name in: "Début, first email" becomes "debut-first-email"."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:64].strip("-") or "template"


@pages.page("POST", "/{org}/templates/_new/import", role="editor")
async def import_file(visit: Visit) -> web.StreamResponse:
    """Create or update a template from its YAML."""
    given, form = await read_form(visit.request, GivenYaml)
    if given is not None:
        try:
            content = read_yaml(given.yaml)
            told = await touched_by(visit, content)
            if not await agreed(visit, told):
                back = partial(_show_new, visit, file_form=form)
                return await ask_back(visit, "Import this file?", told, "Import", back=back)
            done = await visit.run(templates.import_template, {"template": content})
        except Refused as error:
            form.refuse("yaml", "; ".join(f"{one.field}: {one.message}" for one in error.faults) or error.message)
        else:
            what = ", ".join(f"{one.name}: {one.what}" for one in done.changes) or "no variants"
            await visit.notice(f"Imported {done.template_id} ({what}).")
            if done.snippet_changed:
                await visit.notice("The email snippet changed: paste it into Klaviyo again.", "warn")
            return visit.see_other(visit.path("templates", done.template_id))
    return await _show_new(visit, file_form=form)


async def touched_by(visit: Visit, content: object) -> list[str]:
    """What an import would take away of a template that is there, or put in the place of what people get. Raises
    Refused for a file that cannot be taken."""
    plan = await visit.run(templates.import_template, {"template": content, "dry_run": True})
    try:
        before = await visit.run(templates.show, OneTemplate(template_id=plan.template_id))
    except NotFound:
        return []
    served = {one.name for one in before.variants if one.state == "approved"}
    told = [f"{one.name} is archived: nobody new gets it." for one in plan.changes if one.what == "archived"]
    told += [
        f"{one.name} is not served any more: {one.standing}."
        for one in plan.changes
        if one.what != "archived" and one.name in served and not one.serves
    ]
    told += [f"{one.name}: {words}." for one in plan.changes for words in one.touched]
    if plan.state != before.state:
        told.append(f"{before.name} is {plan.state} instead of {before.state}. {STATES[plan.state]}")
    if plan.snippet_changed and {plan.state, before.state} & LIVE:
        told.append(SNIPPET_CHANGES)
    return told


def read_yaml(text: str) -> object:
    """What it holds. Raises Refused."""
    try:
        return one_document(f"{text}\n")  # the form took the last line's end, which a text in `|` keeps
    except BadYaml as error:
        line = f"line {error.line}: " if error.line else ""
        raise Refused(f"{line}{error.what}", field="yaml") from None


@pages.page("GET", "/{org}/templates/{template}", role="viewer")
async def one(visit: Visit) -> web.StreamResponse:
    """Its variants, and where it is in its life."""
    template = await template_of(visit)
    return await show_one(visit, template)


async def show_one(visit: Visit, template: Template, refused: str = "") -> web.Response:
    """The template's first tab."""
    found: Variants = await visit.run(list_variants, {"template_id": template.template_id})
    drafting = await visit.run(drafts.list_runs, {"template_id": template.template_id, "limit": 5})
    return visit.render(
        "templates/one.html", 422 if refused else 200, template=template, variants=found.variants,
        states=STATES, refused=refused, tab="variants", ready=_ready(visit, template, found),
        nobody_is_control=template_choice.nobody_is_control(template),
        drafting=drafting, run_states=RUN_STATES,
    )  # fmt: skip


def _ready(visit: Visit, template: Template, written: Variants) -> Sequence[tuple[bool, str, str]]:
    """What is to be done before it can be active: done, what, and where: a tab, a place on this page, or a path."""
    waiting = any("in review" in one.state for one in written.variants)
    draft = next((one.copy_id for one in written.variants if one.state == "draft"), None)
    return (
        (template.flow_id is not None, "Select the flow and its Treatment Message", "settings"),
        (bool(template.variants), "Write a variant", "variants/_new"),
        (
            any(row.state == "approved" for row in template.variants),
            "Have it approved: it waits under Review" if waiting else "Send it into review and have it approved",
            visit.path("review") if waiting else f"variants/{draft}" if draft else "#variants",
        ),
        (
            template.flow_delay_s is not None,
            "Paste webhook and email snippet into Klaviyo, then run the set-up check",
            "settings#s-webhook" if template.flow_delay_s is None else "check",
        ),
        (template.state in ("active", "shipped"), "Make the template active", "#life"),
    )


@pages.page("POST", "/{org}/templates/{template}/state", role="editor")
async def change_state(visit: Visit) -> web.StreamResponse:
    """Lead it through its life."""
    given, form = await read_form(visit.request, NewState)
    template = await template_of(visit)
    if given is None:
        return await show_one(visit, template, f"State {form.error('state')}.")
    try:
        done = await visit.run(template_settings.set_state, {"template_id": template.template_id, "state": given.state})
    except Refused as error:
        return await show_one(visit, template, f"Nothing was changed: {ended(error.message)}")
    await visit.notice(f"{template.name} is {done.template.state}. {STATES[given.state]}")
    return visit.see_other(visit.path("templates", template.template_id))


@pages.page("POST", "/{org}/templates/{template}/stop", role="editor")
async def stop(visit: Visit) -> web.StreamResponse:
    """Let no copy of it reach a profile any more."""
    given, _ = await read_form(visit.request, Reason)
    template = await template_of(visit)
    reason = given.reason if given else ""
    await visit.run(stops.stop_template, {"template_id": template.template_id, "reason": reason or None})
    await visit.notice(f"{template.name} is stopped: no copy of it reaches a profile until it is resumed.", "warn")
    return visit.see_other(visit.path("templates", template.template_id))


@pages.page("POST", "/{org}/templates/{template}/resume", role="editor")
async def resume(visit: Visit) -> web.StreamResponse:
    """End the stop."""
    template = await template_of(visit)
    done = await visit.run(stops.resume_template, OneTemplate(template_id=template.template_id))
    await visit.notice("The stop is over; the next webhook is served again.")
    if any(stop.template_id is None for stop in done.stops):
        await visit.notice("All of the org is still stopped, so nothing is served yet.", "warn")
    return visit.see_other(visit.path("templates", template.template_id))


@pages.page("GET", "/{org}/templates/{template}/file", role="viewer")
async def file_page(visit: Visit) -> web.StreamResponse:
    """All of it as YAML, to look at, take along or change."""
    template = await template_of(visit)
    found = await visit.run(template_writing.export, OneTemplate(template_id=template.template_id))
    return await show_file(visit, template, Form({"yaml": found.yaml}))


async def show_file(visit: Visit, template: Template, form: Form, sheet: Form | None = None) -> web.Response:
    """The template's last tab."""
    sheet = sheet or Form()
    return visit.render(
        "templates/file.html", 422 if form.faulty or sheet.faulty else 200, template=template, tab="file", form=form,
        sheet=sheet, states=STATES,
    )  # fmt: skip


@pages.page("POST", "/{org}/templates/{template}/file", role="editor")
async def change_by_file(visit: Visit) -> web.StreamResponse:
    """Make the template what the file says."""
    template = await template_of(visit)
    given, form = await read_form(visit.request, GivenYaml)
    if given is not None:
        try:
            content = read_yaml(given.yaml)
            if not isinstance(content, dict) or content.get("template_id") != template.template_id:
                raise Refused(f"must say template_id: {template.template_id}", field="yaml")
            told = await touched_by(visit, content)
            if not await agreed(visit, told):
                back = partial(show_file, visit, template, form)
                return await ask_back(visit, "Import the changes?", told, "Import the changes", back=back)
            done = await visit.run(templates.import_template, {"template": content})
        except Refused as error:
            form.refuse("yaml", "; ".join(f"{one.field}: {one.message}" for one in error.faults) or error.message)
        else:
            await visit.notice("Imported." if done.changed else "That is how it was already.")
            if done.snippet_changed:
                await visit.notice("The email snippet changed: paste it into Klaviyo again.", "warn")
            return visit.see_other(visit.path("templates", template.template_id))
    return await show_file(visit, template, form)


@pages.page("GET", "/{org}/templates/{template}/file.yaml", role="viewer")
async def download(visit: Visit) -> web.StreamResponse:
    """The file itself."""
    found = await visit.run(template_writing.export, {"template_id": visit.value("template")})
    headers = {"Content-Disposition": f'attachment; filename="{found.template_id}.yaml"'}
    return web.Response(text=found.yaml, content_type="application/yaml", headers=headers)


async def template_of(visit: Visit) -> Template:
    """The path's template. Raises NotFound."""
    return await visit.run(templates.show, {"template_id": visit.value("template")})


def as_written(text: str, before: str = "") -> str:
    """What was typed, with the line ends that texts have here. Browsers send others, and blanks at the end are lost on
    the way: a text that is otherwise as it was `before` has not been changed."""
    typed = text.replace("\r\n", "\n")
    return before if typed.strip() == before.strip() else typed
