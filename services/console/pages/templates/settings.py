"""A template's Integration Settings as on the public page, and the check of the live flow against them."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.pages.klaviyo_data import counted, read_by_the_way
from services.console.pages.templates import choice as template_choice
from services.console.pages.templates.templates import LIVE, STATES, as_written, template_of
from services.console.web.ask_back import agreed, ask_back
from services.console.web.errors import sentence_of
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.access import keys
from shared.admin.errors import AdminError, Conflict, Refused
from shared.admin.operation import Nothing
from shared.admin.orgs import flows
from shared.admin.orgs.flows import EmailStep
from shared.admin.templates import lint as template_lint
from shared.admin.templates import pasting
from shared.admin.templates import settings as template_settings
from shared.admin.templates import writing as template_writing
from shared.admin.templates.one import OneTemplate
from shared.admin.templates.templates import Template
from shared.errors import Failure
from shared.sentences import ended
from shared.spans import UNITS, Unit, in_one_unit, said

pages = Pages()

_Id = Annotated[str, Field(max_length=64)]
_Number = Annotated[int, Field(ge=1, le=2_592_000)]
_LONGEST_S: Final = 2_592_000
_KEYS_NAMED: Final = 3  # the newest; who has more knows them


class GivenSettings(BaseModel):
    """What the form holds; an empty choice is none."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    flow_id: _Id | None = None
    treatment_action_id: _Id | None = None
    control_action_id: _Id | None = None
    property_prefix: Annotated[str, Field(max_length=32)] = "jai"
    delay: _Number | None = None
    delay_unit: Unit = "minutes"
    send_window: _Number = 15
    send_window_unit: Unit = "minutes"

    def asked(self, template: Template) -> dict[str, Any]:
        """As the operation takes it. Where the split is ours the form has no Control Message, and the stored one stays
        as long as it can: what its emails came to is counted as control's by it."""
        left_out = {"delay", "delay_unit", "send_window", "send_window_unit"}
        fits = self.flow_id == template.flow_id and self.treatment_action_id != template.control_action_id
        if template.split != "external" and fits:
            left_out.add("control_action_id")
        return self.model_dump(exclude=left_out) | {
            "delay_s": None if self.delay is None else self.delay * UNITS[self.delay_unit],
            "send_window_s": self.send_window * UNITS[self.send_window_unit],
        }


class GivenControl(BaseModel):
    """What the email shows when our copy must not."""

    subject: Annotated[str, Field(min_length=1)]
    preheader: str = ""
    body: Annotated[str, Field(min_length=1)]


@pages.page("GET", "/{org}/templates/{template}/settings", role="viewer")
async def settings(visit: Visit) -> web.StreamResponse:
    """As they are; `?flow_id=` shows another flow's messages, for who has no script."""
    template = await template_of(visit)
    form = Form(
        _stored(template) | {name: visit.request.query[name] for name in ("flow_id",) if name in visit.request.query}
    )
    return await _show(visit, template, form)


@pages.page("GET", "/{org}/templates/{template}/settings/messages", role="viewer")
async def messages(visit: Visit) -> web.StreamResponse:
    """The choices of a flow's messages alone, when another flow is selected; the whole page for who opens it."""
    template = await template_of(visit)
    if not visit.is_htmx:
        return visit.see_other(visit.path("templates", template.template_id, "settings"))
    found = await visit.run(flows.list_flows, Nothing())
    form = Form({"flow_id": visit.request.query.get("flow_id", "")})
    return visit.render("templates/_messages.html", template=template, form=form, **_choices(found.steps, form))


@pages.page("POST", "/{org}/templates/{template}/settings", role="editor")
async def save(visit: Visit) -> web.StreamResponse:
    """Save changes."""
    template = await template_of(visit)
    given, form = await read_form(visit.request, GivenSettings)
    if given is not None:
        asked = given.asked(template)
        if _too_long(asked, form):
            return await _show(visit, template, form)
        told = _touched(template, given)
        if not await agreed(visit, told):
            back = partial(_show, visit, template, form)
            return await ask_back(visit, f"Change where {template.name} lives?", told, "Save changes", back=back)
        try:
            done = await visit.run(template_settings.set_template, {"template_id": template.template_id, **asked})
        except Refused as error:
            form.refuse_all(error)
        else:
            await visit.notice("Saved. The next webhook uses it." if done.changed else "That is how it was already.")
            if done.snippet_changed and template.flow_id is None:
                await visit.notice("Webhook step and Email snippet, to be pasted into Klaviyo, are below.", "info")
            elif done.snippet_changed:
                await visit.notice("The email snippet changed: paste it into the Treatment Message again.", "warn")
            return visit.see_other(visit.path("templates", template.template_id, "settings"))
    return await _show(visit, template, form)


@pages.page("POST", "/{org}/templates/{template}/control", role="editor")
async def save_control(visit: Visit) -> web.StreamResponse:
    """Set the control content."""
    template = await template_of(visit)
    given, control = await read_form(visit.request, GivenControl)
    if given is not None:
        told = _touched_by_control(template, given)
        if not await agreed(visit, told):
            back = partial(_show, visit, template, Form(_stored(template)), control)
            return await ask_back(
                visit, f"Change the control content of {template.name}?", told, "Save the control content", back=back
            )
        try:
            done = await visit.run(
                template_writing.set_control,
                {"template_id": template.template_id, **given.model_dump(), "body": as_written(given.body)},
            )
        except Refused as error:
            control.refuse_all(error)
        else:
            await visit.notice(
                "Saved. The email snippet holds it: paste the snippet into the Treatment Message again."
                if done.changed
                else "That is how it was already.",
                "warn" if done.changed else "good",
            )
            return visit.see_other(visit.path("templates", template.template_id, "settings"))
    return await _show(visit, template, Form(_stored(template)), control)


@pages.page("POST", "/{org}/templates/{template}/choice", role="editor")
async def save_choice(visit: Visit) -> web.StreamResponse:
    """Set how it tests and learns."""
    template = await template_of(visit)
    given, choice = await read_form(visit.request, template_choice.GivenChoice)
    if given is not None:
        try:
            asked = template_choice.asked_of(template, given)
            told = template_choice.touched(template, asked) if template.state in LIVE else []
            if not await agreed(visit, told):
                back = partial(_show, visit, template, Form(_stored(template)), choice=choice)
                return await ask_back(
                    visit, f"Change who is control of {template.name}?", told, "Save the test", back=back
                )
            done = await visit.run(template_settings.set_template, asked)
        except (Refused, Conflict) as error:
            choice.refuse_all(error, "policy", "conversions", fields=template_choice.GivenChoice.model_fields)
        else:
            await visit.notice("Saved. The next webhook uses it." if done.changed else "That is how it was already.")
            return visit.see_other(visit.path("templates", template.template_id, "settings"))
    return await _show(visit, template, Form(_stored(template)), choice=choice)


def _too_long(asked: Mapping[str, Any], form: Form) -> bool:
    """Said at its field, in its unit."""
    for name in ("delay", "send_window"):
        if (asked[f"{name}_s"] or 0) > _LONGEST_S:
            form.refuse(name, f"is too long: at most {said(_LONGEST_S)}")
    return form.faulty


def _touched(template: Template, given: GivenSettings) -> list[str]:
    """What a change of place takes away from a template that people get copy of."""
    if template.state not in LIVE:
        return []
    told = []
    moves = (given.flow_id, given.treatment_action_id) != (template.flow_id, template.treatment_action_id)
    if moves or given.property_prefix != template.property_prefix:
        told.append(
            f"{template.name} is {template.state}, and its email snippet changes: until the new one is pasted into the "
            "Treatment Message, every email shows the control content."
        )
    if moves:
        told.append(
            "The JSON body of the Webhook step changes, too, since its tracking_id names the flow and the message: "
            "paste it again."
        )
    if given.property_prefix != template.property_prefix:
        told.append(
            f"Copy is written to {given.property_prefix}_subject, {given.property_prefix}_preheader and "
            f"{given.property_prefix}_body; what profiles hold under {template.property_prefix}_ is taken away after "
            "its send window."
        )
    return told


def _touched_by_control(template: Template, given: GivenControl) -> list[str]:
    before = (template.control_subject, template.control_preheader, template.control_body.strip())
    if template.state not in LIVE or (given.subject, given.preheader, as_written(given.body).strip()) == before:
        return []
    return [
        f"{template.name} is {template.state}, and its email snippet holds the control content: until the new snippet "
        "is pasted into the Treatment Message, emails that show control show the content of the one that is there."
    ]


@pages.page("POST", "/{org}/templates/{template}/refresh", role="editor")
async def refresh(visit: Visit) -> web.StreamResponse:
    """Refresh Klaviyo Data."""
    template = await template_of(visit)
    try:
        found = await visit.run(flows.sync, Nothing())
    except (AdminError, Failure) as error:
        await visit.notice(f"Klaviyo was not read: {_said(error)}", "bad")
    else:
        await visit.notice(f"Read {counted(found)} from Klaviyo.")
    return visit.see_other(visit.path("templates", template.template_id, "settings"))


@pages.page("GET", "/{org}/templates/{template}/check", role="viewer")
async def check(visit: Visit) -> web.StreamResponse:
    """What the set-up check looks at."""
    template = await template_of(visit)
    return visit.render("templates/check.html", template=template, states=STATES, tab="check", found=None, refused="")


@pages.page("POST", "/{org}/templates/{template}/check", role="viewer")
async def check_now(visit: Visit) -> web.StreamResponse:
    """Read the flow as it is in Klaviyo now."""
    template = await template_of(visit)
    found, refused = None, ""
    try:
        found = await visit.run(template_lint.lint, OneTemplate(template_id=template.template_id))
    except (AdminError, Failure) as error:
        refused = _said(error)
    if found is not None and template.flow_delay_s is None and any(one.rule == "delay" for one in found.answers):
        await read_by_the_way(visit)  # the webhook is new in the flow: Home and Integration Settings are to know it
    page = "templates/_answers.html" if visit.is_htmx else "templates/check.html"
    return visit.render(page, template=template, states=STATES, tab="check", found=found, refused=refused)


def _said(error: AdminError | Failure) -> str:
    return sentence_of(error) if isinstance(error, AdminError) else ended(str(error))


def _stored(template: Template) -> dict[str, str]:
    names = ("name", "flow_id", "treatment_action_id", "control_action_id", "property_prefix")
    stored = {name: getattr(template, name) or "" for name in names}
    for name, length_s in (("delay", template.delay_s), ("send_window", template.send_window_s)):
        number, unit = ("", "minutes") if length_s is None else in_one_unit(length_s)
        stored |= {name: str(number), f"{name}_unit": unit}
    return stored


def _choices(steps: list[EmailStep], form: Form) -> Mapping[str, Any]:
    """The pickers' options; what is stored and was not read stays selectable, or saving would drop it unseen."""
    flow_id = form.value("flow_id")
    known = {step.flow_id: f"{step.flow_name or step.flow_id} ({step.flow_status})" for step in steps}
    if flow_id and flow_id not in known:
        known[flow_id] = f"{flow_id} (not read from Klaviyo)"
    emails = {
        step.action_id: f"{step.message_name or step.action_id} · {_delay(step.delay_s)}"
        for step in steps
        if step.flow_id == flow_id
    }
    for name in ("treatment_action_id", "control_action_id"):
        if (action_id := form.value(name)) and action_id not in emails and form.value("flow_id"):
            emails[action_id] = f"{action_id} (not read from Klaviyo)"
    return {
        "flow_options": [("", "Select a flow…"), *known.items()],
        "message_options": [("", "Select an email…" if flow_id else "Select a flow first"), *emails.items()],
        "control_options": [("", "None"), *emails.items()],
    }


def _delay(delay_s: int | None) -> str:
    if delay_s is None:
        return "no webhook before it"
    return f"{said(delay_s)} after the webhook"


async def _show(
    visit: Visit, template: Template, form: Form, control: Form | None = None, choice: Form | None = None
) -> web.Response:
    found = await visit.run(flows.list_flows, Nothing())
    control = control or Form(
        {
            "subject": template.control_subject,
            "preheader": template.control_preheader,
            "body": template.control_body,
        }
    )
    asked = {"template_id": template.template_id, "base_url": visit.console.settings.console_gateway_url}
    webhook = await visit.run(pasting.webhook, asked)
    snippet, no_snippet = None, ""
    try:
        snippet = await visit.run(pasting.snippet, OneTemplate(template_id=template.template_id))
    except Refused as error:
        no_snippet = "" if error.code == "no_flow_message" else sentence_of(error)
    typed, choice = choice is not None, choice or template_choice.form_of(template)
    known = (await visit.run(keys.list_keys, Nothing())).keys
    return visit.render(
        "templates/settings.html", 422 if form.faulty or control.faulty or choice.faulty else 200, template=template,
        form=form, choice=choice, test_words=template_choice.in_words(template), **template_choice.shown(template),
        control=control, webhook=webhook, snippet=snippet, no_snippet=no_snippet, synced_at=found.synced_at,
        states=STATES, tab="settings", units=list(reversed(list(UNITS))), key_header=pasting.KEY_HEADER,
        keys=[one for one in known if keys.lets_in(one, visit.now)][-_KEYS_NAMED:],
        test_open=typed or "test" in visit.request.query, **_choices(found.steps, form),
    )  # fmt: skip
