"""Variants: written beside a live preview, checked while they are, reviewed, taken back."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.pages.email_frame import email, email_of
from services.console.pages.templates.templates import STATES, as_written, template_of
from services.console.web.errors import not_found, sentence_of
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError, Conflict, NotFound, Refused
from shared.admin.operation import Nothing, Operation
from shared.admin.orgs import content_rules
from shared.admin.outcomes.meanings import of_decision
from shared.admin.templates.templates import Template
from shared.admin.variants import previewing, variants
from shared.admin.variants import saving as variant_saving
from shared.admin.variants.variants import Finding, HistoryRow, Number, Step, Stepped, Variant
from shared.content.klaviyo_tags import with_fields

pages = Pages()

Person = Literal["example", "nobody", "long"]
PEOPLE: Final[Mapping[str, str]] = {
    "example": "Somebody with every field",
    "nobody": "Somebody without any field",
    "long": "Somebody with very long values",
}
_USUAL_FIELDS: Final = ("first_name", "last_name", "city")  # chips, beside those that the copy prints
_SENT: Final = "sent into review. It waits under Review."
_TEXT = Annotated[str, Field(max_length=200_000)]


class Texts(BaseModel):
    """What is being written. `person`: for whom the preview is; `then`: what is done with it once it is saved."""

    name: Annotated[str, Field(max_length=100)] = ""
    theme: Annotated[str, Field(max_length=1_000)] = ""
    subject: Annotated[str, Field(max_length=1_000)] = ""
    preheader: Annotated[str, Field(max_length=1_000)] = ""
    body: _TEXT = ""
    person: Person = "example"
    then: Literal["submit", ""] = ""


class GivenStep(BaseModel):
    """`comment`: for the history. `version`: the one that the page showed. `back`: the page to go on to."""

    comment: Annotated[str, Field(max_length=2_000)] = ""
    version: Number | None = None
    back: Literal["review", ""] = ""


# --- writing ---------------------------------------------------------------------------------------------------------


@pages.page("GET", "/{org}/templates/{template}/variants/_new", role="editor")
async def new(visit: Visit) -> web.StreamResponse:
    """An empty one, or one that begins with the control content."""
    template = await template_of(visit)
    begins = _of_control(template) if visit.request.query.get("from") == "control" else Form()
    return await _editor(visit, template, None, begins)


def _of_control(template: Template) -> Form:
    texts = {name: getattr(template, f"control_{name}") or "" for name in ("subject", "preheader", "body")}
    return Form({name: with_fields(text) for name, text in texts.items()})


@pages.page("POST", "/{org}/templates/{template}/variants/_new", role="editor")
async def create(visit: Visit) -> web.StreamResponse:
    """Save a new one."""
    template = await template_of(visit)
    given, form = await read_form(visit.request, Texts)
    if given is not None and not given.name:
        form.refuse("name", "is missing")
    elif given is not None and any(one.name == given.name for one in template.variants):
        form.refuse("name", "is taken by another variant of this template")
    return await _save(visit, template, None, given, form, given.name if given else "")


@pages.page("GET", "/{org}/templates/{template}/variants/{variant}", role="viewer")
async def one(visit: Visit) -> web.StreamResponse:
    """The newest version, to be changed."""
    template, variant = await template_of(visit), await _variant(visit)
    shown = variant.shown
    form = Form(
        {
            "name": variant.name, "theme": variant.theme, "subject": shown.subject, "preheader": shown.preheader,
            "body": shown.body,
        }
    )  # fmt: skip
    return await _editor(visit, template, variant, form)


@pages.page("POST", "/{org}/templates/{template}/variants/{variant}", role="editor")
async def save(visit: Visit) -> web.StreamResponse:
    """Save it as a new version."""
    template, variant = await template_of(visit), await _variant(visit)
    given, form = await read_form(visit.request, Texts)
    return await _save(visit, template, variant, given, form, str(variant.copy_id))


async def _save(
    visit: Visit, template: Template, variant: Variant | None, given: Texts | None, form: Form, named: str
) -> web.StreamResponse:
    if given is None or form.faulty:
        return await _editor(visit, template, variant, form)
    asked = {
        "template_id": template.template_id,
        "variant": named,
        **given.model_dump(exclude={"name", "person", "then"}),
    }
    asked["body"] = as_written(given.body, variant.shown.body if variant is not None else "")
    try:
        done = await visit.run(variant_saving.save, asked)
    except Refused as error:
        form.refuse_all(error)
        return await _editor(visit, template, variant, form)
    stopping = sum(not one.warning for one in done.warnings)
    if given.then == "submit":
        await _do(visit, variants.submit, {"template_id": template.template_id, "variant": str(done.copy_id)}, _SENT)
    else:
        said = "Nothing was changed." if not done.changed else f"Saved {done.name}: {done.state}."
        if variant is not None and "in review" in variant.state and "in review" not in done.state:
            said += f" Version {variant.pending} is not in review any more."
        await visit.notice(said + (f" {stopping} of its findings stop an approval." if stopping else ""))
    return visit.see_other(visit.path("templates", template.template_id, "variants", str(done.copy_id)))


async def _editor(visit: Visit, template: Template, variant: Variant | None, form: Form) -> web.Response:
    tried = await _tried(visit, template, form, variant)
    history = (await visit.run(variants.history, _asked(template, variant))).events[::-1] if variant is not None else ()
    return visit.render(
        "templates/variant.html", 422 if form.faulty else 200, template=template, variant=variant, form=form,
        tried=tried, history=history, states=STATES, people=PEOPLE, tab="variants", means=of_decision,
        blocking=_stopping(tried.findings), field_names=sorted({*_USUAL_FIELDS, *tried.fields}),
        can_roll_back=variant is not None and _can_roll_back(variant, history),
        awaits=await _awaits(visit, variant, history) if variant is not None else "",
    )  # fmt: skip


async def _awaits(visit: Visit, variant: Variant, history: Sequence[HistoryRow]) -> str:
    """Why an approval by this person would be refused; "" where it would not."""
    if not visit.may("reviewer") or not (await visit.run(content_rules.show_rules, Nothing())).rules.review_required:
        return ""
    if "in review" not in variant.state:
        return "Your org asks for a review by somebody else: send it into review first."
    wrote = [one.actor for one in history if one.version == variant.pending and one.event in ("written", "submitted")]
    mine = visit.account.email.casefold() in (actor.casefold() for actor in wrote)
    return "You wrote or submitted this version, so somebody else has to approve it." if mine else ""


def _can_roll_back(variant: Variant, history: Sequence[HistoryRow]) -> bool:
    served = {one.version for one in history if one.event in ("approved", "rolled_back")}
    return variant.state.startswith(("live", "approved", "paused")) and bool(served - {variant.approved_version})


async def _tried(visit: Visit, template: Template, form: Form, variant: Variant | None) -> previewing.Tried:
    texts = {name: form.value(name) for name in ("subject", "preheader", "body")}
    person = form.value("person", "example")
    named = str(variant.copy_id) if variant is not None else form.value("name")
    texts["body"] = as_written(texts["body"])
    asked = {"template_id": template.template_id, "variant": named, "person": person, **texts}
    return await visit.run(previewing.try_texts, asked)


def _stopping(findings: list[Finding]) -> int:
    return sum(not one.warning for one in findings)


@pages.page("POST", "/{org}/templates/{template}/try", role="viewer")
async def try_texts(visit: Visit) -> web.StreamResponse:
    """What the checks say of what is being written, as a part of the page."""
    template = await template_of(visit)
    given, form = await read_form(visit.request, Texts)
    if given is None:
        return visit.render("templates/_findings.html", 422, tried=None, form=form, means=of_decision, blocking=0)
    tried = await _tried(visit, template, form, None)
    return visit.render(
        "templates/_findings.html", tried=tried, form=form, means=of_decision, blocking=_stopping(tried.findings)
    )


@pages.page("POST", "/{org}/templates/{template}/preview-text", role="viewer")
async def preview_text(visit: Visit) -> web.StreamResponse:
    """The email of what is being written, for the frame beside it."""
    template = await template_of(visit)
    given, form = await read_form(visit.request, Texts)
    if given is None:
        return email("<p>This cannot be shown: a text is too long.</p>", 422)
    return email_of(await _tried(visit, template, form, None))


@pages.page("GET", "/{org}/templates/{template}/variants/{variant}/email", role="viewer")
async def variant_email(visit: Visit) -> web.StreamResponse:
    """One version as a person would see it."""
    template = await template_of(visit)
    query = visit.request.query
    version = int(query["version"]) if query.get("version", "").isdecimal() and len(query["version"]) < 7 else None
    asked: dict[str, Any] = {"template_id": template.template_id, "variant": _id(visit), "version": version or None}
    shown = (await visit.run(variants.show, asked)).shown
    person = query.get("person", "example")
    texts = {"subject": shown.subject, "preheader": shown.preheader, "body": shown.body}
    tried = await visit.run(
        previewing.try_texts,
        {"template_id": template.template_id, "variant": asked["variant"], **texts,
         "person": person if person in PEOPLE else "example"},
    )  # fmt: skip
    return email_of(tried)


# --- steps -----------------------------------------------------------------------------------------------------------


def _step(step: Operation[Step, Stepped], role: Literal["reviewer", "editor"], said: str) -> None:
    name = step.name.partition(".")[2]

    async def handle(visit: Visit) -> web.StreamResponse:
        template, variant = await template_of(visit), await _variant(visit)
        given, form = await read_form(visit.request, GivenStep)
        back = visit.path("templates", template.template_id, "variants", str(variant.copy_id))
        if given is None:
            wrong = "; ".join(f"the {name} {why}" for name, why in form.errors.items())
            await visit.notice(f"Nothing was done: {wrong}.", "bad")
            return visit.see_other(back)
        seen = given.model_dump(include={"comment", "version"})
        await _do(visit, step, {**_asked(template, variant), **seen}, said)
        return visit.see_other(visit.path("review") if given.back == "review" else back)

    pages.page("POST", f"/{{org}}/templates/{{template}}/variants/{{variant}}/{name}", role=role)(handle)


async def _do(visit: Visit, step: Operation[Step, Stepped], asked: Mapping[str, Any], said: str) -> None:
    """Take it, and say on the next page how that went."""
    try:
        done = await visit.run(step, asked)
    except (Conflict, Refused) as error:
        await visit.notice(f"Nothing was done. {_said(error)}", "bad")
    else:
        # Only what the step itself does not say.
        now = "" if done.state in f"{said} in review" else f" It is {done.state}."
        await visit.notice(f"{done.name}, version {done.version}: {said}{now}")


_step(variants.submit, "editor", _SENT)
_step(variants.approve, "reviewer", "approved.")
_step(variants.reject, "reviewer", "sent back to its author.")
_step(variants.rollback, "reviewer", "the version before is served again.")
_step(variants.resume, "reviewer", "resumed.")
_step(variants.archive, "editor", "archived.")


def _said(error: AdminError) -> str:
    faults = error.faults if isinstance(error, Refused) else ()
    return " ".join([sentence_of(error), *(f"{one.field}: {one.message}." for one in faults[:5] if len(faults) > 1)])


@pages.page("GET", "/{org}/templates/{template}/variants/{variant}/diff", role="viewer")
async def diff(visit: Visit) -> web.StreamResponse:
    """What changed between two versions."""
    template, variant = await template_of(visit), await _variant(visit)
    query = visit.request.query
    chosen = {name: query[name] for name in ("first", "second") if query.get(name)}
    try:
        found = await visit.run(variants.diff, {**_asked(template, variant), **chosen})
    except (NotFound, Refused):
        raise not_found() from None
    return visit.render(
        "templates/diff.html", template=template, variant=variant, found=found, states=STATES, tab="variants",
        versions=range(variant.newest, 0, -1),
    )  # fmt: skip


# --- the path --------------------------------------------------------------------------------------------------------


def _id(visit: Visit) -> str:
    try:
        return str(UUID(visit.value("variant")))
    except ValueError:
        raise not_found() from None


async def _variant(visit: Visit) -> Variant:
    return await visit.run(variants.show, {"template_id": visit.value("template"), "variant": _id(visit)})


def _asked(template: Template, variant: Variant) -> dict[str, str]:
    return {"template_id": template.template_id, "variant": str(variant.copy_id)}
