"""Drafts by a model: the brief, what leaves this machine and what it costs, and the run as its drafts come in."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.pages.templates.templates import RUN_STATES, template_of
from services.console.web.errors import not_found, sentence_of
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.drafts import drafts
from shared.admin.drafts.models import PromptShown, Run
from shared.admin.errors import AdminError, Conflict, NotFound, Refused
from shared.admin.templates.templates import Template
from shared.admin.variants import variants
from shared.drafting.brief import MOST_DRAFTS, MOST_EXAMPLES
from shared.drafting.prompt import LEAST_DELIVERED

pages = Pages()

_TEXT = Annotated[str, Field(max_length=20_000)]
_NUMBERS: Final = tuple((str(number), str(number)) for number in range(1, MOST_DRAFTS + 1))
_LISTS: Final = ("must_say", "must_not_say", "themes", "fields", "links")
OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    "in_review": ("In review", "warn"), "draft": ("Draft, with findings", ""), "not_stored": ("Not stored", "bad"),
    "no_draft": ("No draft", "bad"), "cut_off": ("Cut off", "bad"),
}  # fmt: skip
"""By what became of a draft, its word and tone."""

_SLOW_S = 60.0  # a run that nobody has taken for so long: is there a console that works runs off?


class GivenBrief(BaseModel):
    """A brief as it is typed; lists have one entry a line."""

    goal: _TEXT = ""
    audience: _TEXT = ""
    tone: _TEXT = ""
    must_say: _TEXT = ""
    must_not_say: _TEXT = ""
    themes: _TEXT = ""
    fields: _TEXT = ""
    links: _TEXT = ""
    examples: list[UUID] = Field(default_factory=list)
    number: Annotated[int, Field(ge=1, le=MOST_DRAFTS)] = 3


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


async def _asked_for(visit: Visit, template: Template, given: GivenBrief) -> dict[str, Any]:
    """As the operations are asked. A variant that is an example is told as it was written last."""
    brief: dict[str, Any] = {name: getattr(given, name) or None for name in ("audience", "tone")}
    brief |= {name: _lines(getattr(given, name)) for name in _LISTS}
    examples = []
    for row in template.variants:
        if row.copy_id in given.examples:
            one = await visit.run(variants.show, {"template_id": template.template_id, "variant": str(row.copy_id)})
            shown = one.shown
            texts = {"subject": shown.subject, "preheader": shown.preheader or None, "body": shown.body}
            examples.append(texts)
    brief |= {"goal": given.goal, "examples": examples}
    return {"template_id": template.template_id, "brief": brief, "number": given.number}


# --- asking ----------------------------------------------------------------------------------------------------------


@pages.page("GET", "/{org}/templates/{template}/drafts/_new", role="editor")
async def new(visit: Visit) -> web.StreamResponse:
    """The form; themes are those that the template has already."""
    template = await template_of(visit)
    themes = dict.fromkeys(row.theme for row in template.variants if row.theme)
    return await _form(visit, template, Form({"themes": "\n".join(themes), "number": "3"}))


@pages.page("POST", "/{org}/templates/{template}/drafts/_new", role="editor")
async def start(visit: Visit) -> web.StreamResponse:
    """Begin a run."""
    template = await template_of(visit)
    given, form = await read_form(visit.request, GivenBrief)
    if given is None:
        return await _form(visit, template, form)
    try:
        run = await visit.run(drafts.start, await _asked_for(visit, template, given))
    except Refused as error:
        form.refuse_all(error, "brief", fields=GivenBrief.model_fields)
        return await _form(visit, template, form)
    return visit.see_other(_path(visit, template, run.run_id))


@pages.page("POST", "/{org}/templates/{template}/drafts/_new/prompt", role="editor")
async def show_prompt(visit: Visit) -> web.StreamResponse:
    """What would be sent, and what it may cost. Nothing is sent."""
    template = await template_of(visit)
    given, form = await read_form(visit.request, GivenBrief)
    prompt = None
    if given is not None:
        try:
            prompt = await visit.run(drafts.show_prompt, await _asked_for(visit, template, given))
        except Refused as error:
            form.refuse_all(error, "brief", fields=GivenBrief.model_fields)
    return await _form(visit, template, form, prompt)


async def _form(visit: Visit, template: Template, form: Form, prompt: PromptShown | None = None) -> web.Response:
    found = await visit.run(drafts.list_runs, {"template_id": template.template_id, "limit": 1})
    usual = prompt
    if usual is None and found.model is not None and template.state != "archived":
        smallest = {"goal": "…", "themes": ["…"]}
        asked = {"template_id": template.template_id, "brief": smallest, "number": 1}
        usual = await visit.run(drafts.show_prompt, asked)
    return visit.render(
        "templates/draft_new.html", 422 if form.faulty else 200, template=template, form=form, model=found.model,
        prompt=prompt, usual=usual, numbers=_NUMBERS, least_delivered=LEAST_DELIVERED, tab="variants",
        examples=[(str(row.copy_id), row.name, row.subject) for row in template.variants if row.state != "archived"],
        most_examples=MOST_EXAMPLES,
    )  # fmt: skip


# --- looking ---------------------------------------------------------------------------------------------------------


@pages.page("GET", "/{org}/templates/{template}/drafts/{run}", role="viewer")
async def one(visit: Visit) -> web.StreamResponse:
    """One run: its drafts so far."""
    template, run = await template_of(visit), await _run(visit)
    found = await visit.run(drafts.list_runs, {"template_id": template.template_id, "limit": 1})
    return visit.render("templates/draft_run.html", template=template, model=found.model, tab="variants", **_shown(run))


@pages.page("GET", "/{org}/templates/{template}/drafts/{run}/progress", role="viewer", asks_itself=True)
async def progress(visit: Visit) -> web.StreamResponse:
    """The drafts so far, asked for again and again until the run is over; then the whole page is."""
    template, run = await template_of(visit), await _run(visit)
    if not visit.is_htmx or not run.going:
        return visit.see_other(_path(visit, template, run.run_id))
    return visit.render("templates/_draft_run.html", template=template, **_shown(run))


def _shown(run: Run) -> dict[str, Any]:
    return {"run": run, "run_states": RUN_STATES, "outcomes": OUTCOMES, "slow_s": _SLOW_S}


# --- ending and trying again -----------------------------------------------------------------------------------------


@pages.page("POST", "/{org}/templates/{template}/drafts/{run}/cancel", role="editor")
async def cancel(visit: Visit) -> web.StreamResponse:
    """End it."""
    template, run = await template_of(visit), await _run(visit)
    try:
        await visit.run(drafts.cancel, _asked(template, run))
    except Conflict as error:
        await visit.notice(f"Nothing was done. {sentence_of(error)}", "warn")
    else:
        await visit.notice("The run is cancelled. What was drafted stays.")
    return visit.see_other(_path(visit, template, run.run_id))


@pages.page("POST", "/{org}/templates/{template}/drafts/{run}/retry", role="editor")
async def retry(visit: Visit) -> web.StreamResponse:
    """Ask again for what is missing."""
    template, run = await template_of(visit), await _run(visit)
    try:
        again = await visit.run(drafts.retry, _asked(template, run))
    except (Conflict, Refused) as error:
        await visit.notice(f"Nothing was begun. {_said(error)}", "bad")
        return visit.see_other(_path(visit, template, run.run_id))
    return visit.see_other(_path(visit, template, again.run_id))


def _said(error: AdminError) -> str:
    said = sentence_of(error)
    return f"What is missing {said[:1].lower()}{said[1:]}" if error.field == "number" else said


def _asked(template: Template, run: Run) -> dict[str, Any]:
    return {"template_id": template.template_id, "run_id": run.run_id}


async def _run(visit: Visit) -> Run:
    try:
        run_id = UUID(visit.value("run"))
    except ValueError:
        raise not_found() from None
    try:
        return await visit.run(drafts.show, {"template_id": visit.value("template"), "run_id": run_id})
    except NotFound:
        raise not_found() from None


def _path(visit: Visit, template: Template, run_id: UUID) -> str:
    return visit.path("templates", template.template_id, "drafts", str(run_id))
