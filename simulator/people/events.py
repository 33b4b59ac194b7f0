"""Engagement events in the shapes that real accounts show, and the store that releases them when their time has come.

`$internal."Transmission ID"` is the one key that a send shares with its opens and clicks; `$event_id` has another
shape per metric, and campaign events lack `$flow`.
"""

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

RECEIVED = "Received Email"
OPENED = "Opened Email"
CLICKED = "Clicked Email"
BOUNCED = "Bounced Email"
SPAM = "Marked Email as Spam"
UNSUBSCRIBED = "Unsubscribed from Email Marketing"
ORDERED = "Placed Order"
METRIC_NAMES = (RECEIVED, OPENED, CLICKED, BOUNCED, SPAM, UNSUBSCRIBED, ORDERED)


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is when it happened, `visible_at` when Klaviyo shows and exports it: later for late rows."""

    id: str
    uuid: str
    at: datetime
    metric_id: str
    metric_name: str
    profile_id: str
    properties: Mapping[str, Any]
    visible_at: datetime

    @property
    def timestamp(self) -> int:
        return int(self.at.timestamp())


@dataclass(frozen=True, slots=True)
class Sent:
    """One email that left, as its events describe it. `flow_id` is None for a campaign."""

    transmission_id: str
    message_id: str
    message_name: str
    flow_id: str | None
    profile_id: str
    email: str
    subject: str
    at: datetime

    def common(self) -> dict[str, Any]:
        handed_off = int(self.at.timestamp())
        properties: dict[str, Any] = {
            "Subject": self.subject,
            "$message": self.message_id,
            "Campaign Name": self.message_name,
            "Recipient Email Address": self.email,
            "$originating_email": self.email,
            "Email Domain": self.email.rpartition("@")[2],
            "$_cohort$message_send_cohort": f"{handed_off}:{self.message_id}",
        }
        if self.flow_id is not None:
            properties["$flow"] = self.flow_id
        return properties


def received(sent: Sent) -> dict[str, Any]:
    internal = {"Transmission ID": sent.transmission_id, "Handoff Time": int(sent.at.timestamp())}
    return sent.common() | {"$internal": internal, "$event_id": f"{sent.message_id}:{sent.transmission_id}"}


def opened(sent: Sent, at: datetime, *, machine: bool) -> dict[str, Any]:
    client = {"Client Type": "Proxy", "Client Name": "Apple Privacy"} if machine else {"Client Type": "Email Client"}
    return _engaged(sent, at) | client | {"machine_open": machine}


def clicked(sent: Sent, at: datetime, url: str, *, bot: bool) -> dict[str, Any]:
    return _engaged(sent, at) | {"URL": url, "Bot Click": bot, "Client Type": "Bot" if bot else "Browser"}


def _engaged(sent: Sent, at: datetime) -> dict[str, Any]:
    event_id = f"{sent.message_id}:{sent.transmission_id}:{int(at.timestamp())}"
    return sent.common() | {"$internal": {"Transmission ID": sent.transmission_id}, "$event_id": event_id}


def bounced(sent: Sent, at: datetime, number: int, *, hard: bool) -> dict[str, Any]:
    """A bounce names no Transmission ID in the rows that are known."""
    event_id = f"{sent.message_id}:{number}:{int(at.timestamp())}"
    return sent.common() | {"Bounce Type": "Hard" if hard else "Soft", "$event_id": event_id}


def unsubscribed(sent: Sent, at: datetime) -> dict[str, Any]:
    event_id = f"{sent.message_id}:{sent.profile_id}:{int(at.timestamp())}"
    return sent.common() | {"method": "email", "$event_id": event_id}


def ordered(order_id: str, value: float) -> dict[str, Any]:
    """The shop's own event: it knows no message."""
    return {"$event_id": order_id, "$value": value, "OrderId": order_id}


@dataclass(slots=True)
class EventStore:
    """All events of an account in order of `at`; the same list serves the API, the export and the counts."""

    events: list[Event] = field(default_factory=list)
    exported: set[str] = field(default_factory=set)
    delivered: set[str] = field(default_factory=set)  # by system webhooks
    owed_duplicates: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        bisect.insort(self.events, event, key=lambda it: (it.at, it.id))

    def visible(self, now: datetime) -> Iterator[Event]:
        return (event for event in self.events if event.visible_at <= now)

    def counts(self, now: datetime) -> dict[str, int]:
        """Visible events by metric name."""
        found: dict[str, int] = {}
        for event in self.visible(now):
            found[event.metric_name] = found.get(event.metric_name, 0) + 1
        return found
