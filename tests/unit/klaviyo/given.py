"""A flow as Klaviyo describes it, set up as told, and what the set-up linter says of it; say only what differs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shared.klaviyo.client import Flow, FlowAction, Message
from shared.klaviyo.lint import Prefix, Read, Wanted, lint
from shared.klaviyo.lint_access import Access, OrgKey
from shared.klaviyo.lint_answer import Answer
from shared.klaviyo.lint_emails import emails_of
from shared.snippet import Control, earlier_snippet, marker, snippet

PLACE = "jai", marker("welcome", "FLOW01", "3"), Control("Hello", "", "<p>Hello</p>")
SNIPPET, EARLIER = snippet(*PLACE), earlier_snippet(*PLACE)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
API_KEY = "jai_live_" + "k" * 38
ORG_KEY = OrgKey("Klaviyo webhook", "jai_live_…kkkk", may_generate=True, expires_at=None, revoked_at=None)
ACCESS = Access(now=NOW, key=ORG_KEY)
WANTED = Wanted(
    "welcome", "acme", "3", SNIPPET, EARLIER, frozenset({"first_name"}), frozenset({"plan"}), 4.0, 120, ACCESS,
    Prefix("jai"),
)  # fmt: skip
BODY: dict[str, Any] = {
    "template_id": "welcome",
    "user_id": "{{ person.KlaviyoID }}",
    "tracking_id": "{{ person.KlaviyoID }}.FLOW01.3",
    "attrs": {"plan": "{{ person|lookup:'plan' }}"},
    "fields": {"first_name": "{{ person.first_name }}"},
}
WEBHOOK: dict[str, Any] = {
    "url": "https://copy.example/api/generate/acme",
    "headers": {"Content-Type": "application/json", "X-Api-Key": API_KEY},
    "body": json.dumps(BODY),
}
EMAIL: dict[str, Any] = {"subject_line": SNIPPET.subject, "preview_text": SNIPPET.preheader}


def step(action_id: str, kind: str, following: str | None, **data: Any) -> FlowAction:
    return FlowAction(action_id, {"id": action_id, "type": kind, "links": {"next": following}, "data": data})


def flow(
    webhook: dict[str, Any] | None = None,
    email: dict[str, Any] | None = None,
    *,
    minutes: int = 3,
    status: str = "live",
    step_status: str = "live",
    body: str | None = SNIPPET.body,
) -> Read:
    actions = [
        step("1", "send-webhook", "2", message={**WEBHOOK, **(webhook or {})}, status=step_status),
        step("2", "time-delay", "3", unit="minutes", value=minutes),
        step("3", "send-email", None, message={**EMAIL, **(email or {})}, status="live"),
    ]
    return read_of(actions, status=status, bodies={"": body})


def read_of(
    actions: Sequence[FlowAction],
    *,
    status: str = "live",
    listed: Sequence[Message] = (),
    bodies: Mapping[str, str | None],
) -> Read:
    """`bodies`: of each message, by its id."""
    sent = [replace(one, body=bodies[one.message_id]) for one in emails_of(actions[-1], listed)]
    return Read(Flow("FLOW01", "Welcome", status, archived=False), actions, sent)


def said(read: Read, wanted: Wanted = WANTED) -> dict[str, Answer]:
    return {one.rule: one for one in lint(wanted, read)}


def changed(**change: Any) -> dict[str, str]:
    return {"body": json.dumps({**BODY, **change})}
