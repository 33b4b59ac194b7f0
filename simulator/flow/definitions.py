"""Flows as Klaviyo describes them: a chain of webhook, delay and email steps, each an action with its own id.

An action's id is what `tracking_id` carries; events carry the id of its *message*. The two are never equal here, as
they are not in Klaviyo.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Literal

Status = Literal["draft", "manual", "live", "disabled"]
ActionType = Literal["send-webhook", "time-delay", "send-email", "conditional-split"]
DelayUnit = Literal["minutes", "hours", "days"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

WEEK: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
UNIT_S: dict[str, float] = {"minutes": 60.0, "hours": 3_600.0, "days": 86_400.0}

# The integration page's own snippet, word for word; `{prefix}` is "jai" there.
LITERAL_SUBJECT = "{{{{ person|lookup:'{prefix}_subject'|default:\"Your weekly update\" }}}}"
LITERAL_PREVIEW = "{{{{ person|lookup:'{prefix}_preheader'|default:\"\" }}}}"
LITERAL_HTML = "{{{{ person|lookup:'{prefix}_body'|safe }}}}"


@dataclass(frozen=True, slots=True)
class EmailText:
    """The three template texts of one email."""

    subject: str
    preview_text: str
    html: str


def literal_snippet(prefix: str) -> EmailText:
    """The page's snippet for a property prefix, rendered beside the real email for the same person and moment."""
    texts = (text.format(prefix=prefix) for text in (LITERAL_SUBJECT, LITERAL_PREVIEW, LITERAL_HTML))
    return EmailText(*texts)


@dataclass(slots=True)
class FlowMessage:
    """What a webhook or email step sends. `prefix` names the profile properties that carry generated content; `text`
    and `amp` can be read of the template, and are shown to nobody."""

    id: str
    action_id: str
    channel: Literal["email", "webhook"]
    name: str
    created_at: datetime
    updated_at: datetime
    template_id: str | None = None
    subject: str = ""
    preview_text: str = ""
    html: str = ""
    text: str = ""
    amp: str | None = None
    from_email: str = "hello@shop.example"
    from_label: str = "Shop"
    prefix: str = "jai"
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def email(self) -> EmailText:
        return EmailText(self.subject, self.preview_text, self.html)

    def definition(self) -> dict[str, Any]:
        if self.channel == "webhook":
            return {"url": self.url, "headers": self.headers, "body": self.body, "name": self.name, "id": self.id}
        return {
            "from_email": self.from_email,
            "from_label": self.from_label,
            "reply_to_email": None,
            "cc_email": None,
            "bcc_email": None,
            "subject_line": self.subject,
            "preview_text": self.preview_text,
            "template_id": self.template_id,
            "smart_sending_enabled": True,
            "transactional": False,
            "add_tracking_params": False,
            "custom_tracking_params": None,
            "additional_filters": None,
            "name": self.name,
            "id": self.id,
        }


@dataclass(slots=True)
class FlowAction:
    """A step. A split has two that follow: of its people `share` go on to `next_id`, the others to `otherwise_id`.
    A delay may last until a time of day and until a weekday, both in UTC; of days it counts the calendar's then."""

    id: str
    flow_id: str
    type: ActionType
    status: Status
    created_at: datetime
    updated_at: datetime
    next_id: str | None = None
    message: FlowMessage | None = None
    delay_unit: DelayUnit = "minutes"
    delay_value: int = 0
    until_time: time | None = None
    until_weekdays: list[Weekday] = field(default_factory=list)
    otherwise_id: str | None = None
    share: float = 1.0

    def over_at(self, begun: datetime) -> datetime:
        """When a delay that began then lets the person go on."""
        at = begun + timedelta(seconds=self.delay_value * UNIT_S[self.delay_unit])
        if self.until_time is not None:
            earliest = begun if self.delay_unit == "days" else at
            on_the_day = datetime.combine(at.date(), self.until_time, at.tzinfo)
            at = on_the_day if on_the_day >= earliest else on_the_day + timedelta(days=1)
        while self.until_weekdays and WEEK[at.weekday()] not in self.until_weekdays:
            at += timedelta(days=1)
        return at

    def follower_of(self, profile_id: str) -> str | None:
        """The step that this person goes on to, always the same; None at the end."""
        if self.type != "conditional-split":
            return self.next_id
        drawn = zlib.crc32(f"{self.id}/{profile_id}".encode()) / 2**32
        return self.next_id if drawn < self.share else self.otherwise_id

    def definition(self) -> dict[str, Any]:
        body: dict[str, Any] = {"id": self.id, "temporary_id": None, "type": self.type, "links": {"next": self.next_id}}
        if self.type == "conditional-split":
            body["links"] = {"next_if_true": self.next_id, "next_if_false": self.otherwise_id}
            body["data"] = {"profile_filter": None}
        elif self.type == "time-delay":
            body["data"] = {
                "unit": self.delay_unit,
                "value": self.delay_value,
                "secondary_value": None,
                "timezone": "UTC",
                "delay_until_time": self.until_time and self.until_time.isoformat(),
                "delay_until_weekdays": list(self.until_weekdays) or None,
            }
        elif self.message is not None:
            body["data"] = {"message": self.message.definition(), "status": self.status}
        return body


@dataclass(slots=True)
class Flow:
    id: str
    name: str
    status: Status
    trigger_type: str
    trigger_id: str
    created_at: datetime
    updated_at: datetime
    actions: list[FlowAction] = field(default_factory=list)
    archived: bool = False

    def action(self, action_id: str) -> FlowAction | None:
        return next((action for action in self.actions if action.id == action_id), None)

    def messages(self) -> Iterator[FlowMessage]:
        return (action.message for action in self.actions if action.message is not None)

    def emails_after(self, webhook: FlowAction) -> list[FlowMessage]:
        """The emails that a webhook step feeds: those behind it on any branch, up to the next webhook."""
        fed: list[FlowMessage] = []
        waiting = [webhook.next_id]
        for action_id in waiting:
            action = self.action(action_id) if action_id else None
            if action is None or action.type == "send-webhook":
                continue
            if action.type == "send-email" and action.message is not None:
                fed.append(action.message)
            waiting += [action.next_id, action.otherwise_id]
        return fed

    def webhook_before(self, message: FlowMessage) -> FlowAction | None:
        """The webhook step that feeds an email, or None when the email is sent without one."""
        webhooks = [action for action in self.actions if action.type == "send-webhook"]
        return next((one for one in webhooks if message in self.emails_after(one)), None)
