"""Whether a live flow does what a template needs of it. Pure rules over the flow's graph, each answer with its fix.

What cannot be seen (a body without `templates:read`) is said to be unknown, never to be right.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from shared.klaviyo.client import Flow, FlowAction
from shared.klaviyo.flows import Wait, is_ours, steps_before, waits_after_webhook
from shared.klaviyo.lint_access import Access, let_in
from shared.klaviyo.lint_answer import Answer
from shared.klaviyo.lint_emails import Email, emails
from shared.snippet import Snippet
from shared.spans import said

PERSON = "{{ person.KlaviyoID }}"
_ID_TAG = re.compile(r"\{\{\s*person\.id\s*\}\}")
_PERSON_TAG = re.compile(r"\{\{\s*person\.KlaviyoID\s*\}\}")
_NAMES = re.compile(r"first_?name|last_?name|surname|full_?name|email|phone|address", re.IGNORECASE)
_OF_EVENT = re.compile(r"\{[{%][^{}]*\bevent\b")
_SENT = ("live", "manual")
_EMAILS = {"send-email", "ab-test", "content-experiment"}


@dataclass(frozen=True, slots=True)
class Prefix:
    """Of the profile properties. `others`: the org's other templates that have it; `elsewhere`: another org of the same
    account has it."""

    name: str
    others: Sequence[str] = ()
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the template says. `earlier`: the snippet that releases before handed out; `fields`: those that its copy
    prints; `attributes`: names that are defined for choosing. `p99_s`: within which 99 of 100 writes were on the
    profile, None before the first. `access`: what our side knows of the webhook's key and of the webhooks that came.
    `delay_s`: the template's own Time Delay, None where it leaves that to the flow."""

    template_id: str
    org_slug: str
    treatment_action_id: str
    snippet: Snippet
    earlier: Snippet
    fields: frozenset[str]
    attributes: frozenset[str]
    p99_s: float | None
    recommended_delay_s: int | None
    access: Access
    prefix: Prefix
    delay_s: int | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What Klaviyo says. `sent`: every email that the treatment step can send; `flow` None: it is not there."""

    flow: Flow | None
    actions: Sequence[FlowAction]
    sent: Sequence[Email]


def lint(wanted: Wanted, read: Read) -> list[Answer]:
    """All answers, in the order of the flow. Rules that need something that is not there are left out."""
    if read.flow is None:
        return [
            Answer(
                "flow_live", "Flow is live", "wrong", "The flow is not in the Klaviyo account any more.",
                "Click “Refresh Klaviyo Data” and select the flow again.",
            )
        ]  # fmt: skip
    answers = [_flow_live(read.flow)]
    treatment = next((one for one in read.actions if one.action_id == wanted.treatment_action_id), None)
    if treatment is None or treatment.definition.get("type") not in _EMAILS:
        answers.append(
            Answer(
                "treatment_message", "Treatment Message is in the flow", "wrong",
                f"The flow has no email step {wanted.treatment_action_id}.",
                "Click “Refresh Klaviyo Data”, select the Treatment Message again and save.",
            )
        )  # fmt: skip
        return answers
    answers.append(_step_live("treatment_message", "Treatment Message is live", treatment))
    webhook = _nearest_webhook(read.actions, treatment.action_id)
    answers.append(_webhook_before(webhook, read.actions))
    if webhook is not None:
        answers += _webhook(webhook, wanted, read.flow)
        wait = waits_after_webhook(read.actions).get(treatment.action_id)
        if wait is not None:
            answers.append(_delay(wait, wanted))
    sent = emails(treatment, read.sent, wanted.snippet, wanted.earlier, wanted.prefix.name)
    return [*answers, *sent, _prefix(wanted.prefix)]


def webhook_message(read: Read, action_id: str) -> Mapping[str, Any]:
    """What the webhook before this email sends; empty where there is none."""
    webhook = _nearest_webhook(read.actions, action_id)
    return {} if webhook is None else _message(webhook)


def _flow_live(flow: Flow) -> Answer:
    title = "Flow is live"
    if flow.archived:
        return Answer("flow_live", title, "wrong", f"“{flow.name}” is archived.", "Restore it in Klaviyo.")
    if flow.status != "live":
        return Answer(
            "flow_live", title, "wrong", f"“{flow.name}” is {flow.status or 'without a status'}, so nobody enters it.",
            "In Klaviyo, open the flow and turn its actions to Live.",
        )  # fmt: skip
    return Answer("flow_live", title, "good", f"“{flow.name}” is live.")


def _step_live(rule: str, title: str, action: FlowAction) -> Answer:
    status = str(_data(action).get("status") or "")
    if status and status not in _SENT:
        return Answer(rule, title, "wrong", f"The step is {status}.", "In Klaviyo, set the step to Live.")
    if status == "manual":
        return Answer(
            rule, title, "warning", "The step is manual: somebody has to send each message.", "Set it to Live."
        )
    return Answer(rule, title, "good" if status else "unknown", f"The step is {status or 'without a status'}.")


def _nearest_webhook(actions: Sequence[FlowAction], action_id: str) -> FlowAction | None:
    """The webhook of ours that is met last before the email, by the least steps."""
    by_id = {one.action_id: one for one in actions}
    return next((by_id[step] for step in steps_before(actions, action_id) if is_ours(by_id[step].definition)), None)


def _webhook_before(webhook: FlowAction | None, actions: Sequence[FlowAction]) -> Answer:
    rule, title = "webhook_before_email", "Webhook comes before the email"
    if webhook is not None:
        return Answer(rule, title, "good", "A webhook to JustAI comes before the Treatment Message.")
    if any(is_ours(one.definition) for one in actions):
        return Answer(
            rule, title, "wrong", "The webhook to JustAI comes after the Treatment Message, or on another branch.",
            "Move the Webhook step before the email, with a Time Delay of 2–5 minutes between them.",
        )  # fmt: skip
    return Answer(
        rule, title, "wrong", "The flow has no webhook to JustAI.",
        "Add a Webhook step before the email and paste URL, headers and JSON body from Integration Settings.",
    )  # fmt: skip


def _webhook(webhook: FlowAction, wanted: Wanted, flow: Flow) -> Iterator[Answer]:
    yield _step_live("webhook_live", "Webhook step is live", webhook)
    message = _message(webhook)
    yield _url(str(message.get("url") or ""), wanted.org_slug)
    yield from let_in(message, wanted.access, webhook.updated_at)
    yield from _body(str(message.get("body") or ""), wanted, flow)


def _url(url: str, org_slug: str) -> Answer:
    rule, title = "webhook_url", "Destination URL is right"
    path = urlsplit(url).path
    if path != f"/api/generate/{org_slug}":
        return Answer(
            rule, title, "wrong", f"It calls {url}.",
            f"Its path must be /api/generate/{org_slug}; paste the Destination URL from Integration Settings.",
        )  # fmt: skip
    if not url.startswith("https://"):
        return Answer(rule, title, "warning", f"It calls {url} without TLS.", "Use the address with https://.")
    return Answer(rule, title, "good", f"It calls {url}.")


def _body(text: str, wanted: Wanted, flow: Flow) -> Iterator[Answer]:
    rule, title, fix = "webhook_body", "JSON body is right", "Paste the JSON body from Integration Settings."
    if _ID_TAG.search(text):
        yield Answer(
            "profile_id", "Profile id is KlaviyoID", "wrong", "It sends {{ person.id }}, which is no profile id.",
            f"Use {PERSON} in user_id and tracking_id.",
        )  # fmt: skip
    try:
        body = json.loads(text)
    except ValueError as error:
        yield Answer(rule, title, "wrong", f"It is no JSON: {error}.", fix)
        return
    if not isinstance(body, dict):
        yield Answer(rule, title, "wrong", "It is no JSON object.", fix)
        return
    wrong = []
    if body.get("template_id") != wanted.template_id:
        wrong.append(f"template_id is {body.get('template_id')!r}, not {wanted.template_id!r}")
    if not _PERSON_TAG.fullmatch(str(body.get("user_id") or "").strip()):
        wrong.append(f"user_id is {body.get('user_id')!r}, not {PERSON!r}")
    tail = _PERSON_TAG.sub("", str(body.get("tracking_id") or "").strip())
    if tail != f".{flow.flow_id}.{wanted.treatment_action_id}":
        wrong.append(f"tracking_id does not end in .{flow.flow_id}.{wanted.treatment_action_id}")
    if wrong:
        yield Answer(rule, title, "wrong", f"{'; '.join(wrong)}.", fix)
    else:
        yield Answer(rule, title, "good", "template_id, user_id and tracking_id belong to this template.")
    yield _sections(body, wanted)
    if flow.trigger == "Metric":
        yield from _entered_twice(body, wanted)


def _entered_twice(body: Mapping[str, Any], wanted: Wanted) -> Iterator[Answer]:
    """A profile holds one copy: of who enters again before the email of the first event, the second's is there."""
    fields = body.get("fields")
    values = fields if isinstance(fields, dict) else {}
    if told := sorted(name for name, value in values.items() if name in wanted.fields and _OF_EVENT.search(str(value))):
        yield Answer(
            "entered_twice", "Nobody enters twice before the email", "warning",
            f"An event starts the flow, and the copy prints {', '.join(told)} of it. Who enters again before the first "
            "email sees the second event's copy in both; whether a filter keeps them out is not read.",
            "Give the flow the filter “has not been in this flow in the last …”, longer than the Time Delay.",
        )  # fmt: skip


def _sections(body: Mapping[str, Any], wanted: Wanted) -> Answer:
    """attrs choose the variant, fields are printed; each in the other's place does nothing, without a word."""
    rule, title = "attrs_and_fields", "attrs and fields are not confused"
    attrs, fields = ({*one} if isinstance(one := body.get(name) or {}, dict) else set() for name in ("attrs", "fields"))
    if mixed := sorted(wanted.fields & attrs - fields):
        return Answer(
            rule, title, "wrong",
            f"{', '.join(mixed)} {'is' if len(mixed) == 1 else 'are'} printed by the copy but sent in attrs alone.",
            "Send what the copy prints in fields.",
        )  # fmt: skip
    if unsent := sorted(wanted.fields - fields):
        return Answer(
            rule, title, "warning", f"The copy prints {', '.join(unsent)}, which the webhook does not send.",
            "Add it to fields, or everybody sees the fallback.",
        )  # fmt: skip
    if idle := sorted(wanted.attributes & fields - attrs):
        return Answer(
            rule, title, "warning", f"{', '.join(idle)} is defined as an attribute but sent in fields alone.",
            "Send what variants are chosen by in attrs; fields never affect selection.",
        )  # fmt: skip
    if personal := sorted(name for name in attrs if _NAMES.search(name)):
        return Answer(
            rule, title, "warning", f"attrs hold {', '.join(personal)}, by which no variant should be chosen.",
            "Send it in fields: attrs are stored and exported, fields are not.",
        )  # fmt: skip
    return Answer(rule, title, "good", "Each name is where it works.")


def _delay(wait: Wait, wanted: Wanted) -> Answer:
    """By the least that the flow waits, and whether it is known until when copy has to stay."""
    rule, title = "delay", "Time Delay is long enough"
    shown = f"The flow waits {_said(wait)} between webhook and email"
    measured = "nothing was measured yet"
    if wanted.p99_s is not None:
        measured = f"99 of 100 writes took at most {wanted.p99_s:,.1f} s"
    enough = "2–5 minutes" if wanted.p99_s is None else said(wanted.recommended_delay_s or 120)
    if not wait.least_s and wait.most_s is not None and wait.most_s > 0:
        return Answer(
            rule, title, "warning", f"{shown}: some may get their email at once, before their copy is there.",
            f"Let each way from the webhook to the email wait {enough} first.",
        )  # fmt: skip
    if wait.most_s is None:
        return _open_ended(wait, wanted, shown)
    if wait.least_s < (120 if wanted.p99_s is None else wanted.p99_s):
        return Answer(rule, title, "wrong", f"{shown}; {measured}.", f"Set the Time Delay to {enough}.")
    advised = ", 2–5 minutes are advised" if wanted.p99_s is None else ""
    return Answer(rule, title, "good", f"{shown}; {measured}{advised}.")


def _open_ended(wait: Wait, wanted: Wanted, shown: str) -> Answer:
    """Nothing but the template's own Time Delay says until when the copy has to stay."""
    rule, title = "delay", "Time Delay is long enough"
    if wanted.delay_s is None or wanted.delay_s <= wait.least_s:
        return Answer(
            rule, title, "warning",
            f"{shown}: it waits for a date or for goods. Copy is taken off the profile soon after the Time Delay, so "
            "whose email leaves later sees the control content.",
            "In the template's settings, set Time Delay to the longest that the email may take.",
        )  # fmt: skip
    return Answer(
        rule, title, "good", f"{shown}: it waits for a date or for goods. The template's own Time Delay of "
        f"{said(wanted.delay_s)} counts.",
    )  # fmt: skip


def _said(wait: Wait) -> str:
    if wait.most_s is None:
        return f"{said(wait.least_s)} or more" if wait.least_s else "nobody knows how long"
    if wait.most_s == wait.least_s:
        return said(wait.least_s)
    return f"{said(wait.least_s)} to {said(wait.most_s)}" if wait.least_s else f"up to {said(wait.most_s)}"


def _prefix(prefix: Prefix) -> Answer:
    rule, title = "prefix", "Property prefix is this email's own"
    fix = "In Integration Settings, give it a prefix of its own; then paste the email snippet again."
    if prefix.elsewhere:
        return Answer(
            rule, title, "warning", f"Another org writes to {prefix.name}_… on profiles of the same Klaviyo account. "
            "Where a person is in flows of both, each takes the other's copy off, and an email shows control.",
            fix,
        )  # fmt: skip
    if prefix.others:
        names = ", ".join(f"“{name}”" for name in prefix.others)
        return Answer(
            rule, title, "warning", f"{names} {'has' if len(prefix.others) == 1 else 'have'} {prefix.name}_… too: a "
            "person who is in both flows at once sees the control content in one.",
            f"If one person can be in both flows at once: {fix[0].lower()}{fix[1:]}",
        )  # fmt: skip
    return Answer(rule, title, "good", f"No other template here writes to {prefix.name}_….")


def _data(action: FlowAction) -> Mapping[str, Any]:
    data = action.definition.get("data") or {}
    inner = data.get("main_action")
    return inner.get("data") or data if isinstance(inner, dict) else data


def _message(action: FlowAction) -> Mapping[str, Any]:
    return _data(action).get("message") or {}
