"""System webhooks: batches of events, signed as Klaviyo signs them: hex(HMAC-SHA256(secret, body + timestamp text))."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from simulator.api import resources
from simulator.people.events import Event

Stamp = Literal["http", "iso", "unix"]


@dataclass(frozen=True, slots=True)
class SignedBatch:
    headers: Mapping[str, str]
    body: bytes


def signed_batch(
    account_id: str, events: Sequence[Event], secret: str, webhook_id: str, now: datetime, stamp: Stamp = "http"
) -> SignedBatch:
    """One request's headers and body. HTTP dates were seen; other receivers expect ISO ones."""
    data = [
        {
            "topic": _topic(event),
            "external_id": event.id,
            "payload": resources.event("https://a.klaviyo.com", event, None),
        }
        for event in events
    ]
    meta = {"timestamp": now.isoformat(), "klaviyo_account_id": account_id, "klaviyo_webhook_id": webhook_id}
    body = json.dumps({"data": data, "meta": {**meta, "version": "2026-07-15"}}, ensure_ascii=False).encode()
    timestamp = stamped(now, stamp)
    return SignedBatch(
        {
            "Content-Type": "application/json", "Klaviyo-Signature": signature(secret, body, timestamp),
            "Klaviyo-Timestamp": timestamp, "Klaviyo-Webhook-Id": webhook_id,
        },
        body,
    )  # fmt: skip


def signature(secret: str, body: bytes, timestamp: str) -> str:
    return hmac.new(secret.encode(), body + timestamp.encode(), hashlib.sha256).hexdigest()


def stamped(now: datetime, stamp: Stamp) -> str:
    match stamp:
        case "http":
            return now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        case "iso":
            return now.isoformat()
        case _:
            return str(int(now.timestamp()))


def _topic(event: Event) -> str:
    integration = "shop" if event.metric_name == "Placed Order" else "klaviyo"
    return f"event:{integration}.{event.metric_name.lower().replace(' ', '_')}"


def due(events: Sequence[Event], delivered: set[str], now: datetime) -> list[Event]:
    """Those that show by now and were not sent yet."""
    return [event for event in events if event.visible_at <= now and event.id not in delivered]
