"""Klaviyo's system webhooks: whether a batch is Klaviyo's, and its events as lines. Pure.

The signature is `hex(HMAC-SHA256(secret, body + text of the header Klaviyo-Timestamp))`: the body first, nothing in
between, both as they came. The header is an HTTP date in what was seen, an ISO time in what others expect.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

WINDOW: Final = timedelta(minutes=5)
"""A batch that was signed longer ago, or later than now, is refused."""

MOST_BYTES: Final = 8 << 20
MOST_EVENTS: Final = 10_000
_RENAMED: Final = {"email delivered": "received email"}  # a topic's name for it, and the metric's


class BadBatch(Exception):
    """The text says why the batch cannot be taken; `code` is the contract."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def demand_genuine(secrets: Sequence[str], body: bytes, timestamp: str, signature: str, now: datetime) -> None:
    """Raises BadBatch unless one of the secrets signed this body within the window. The signature is looked at first:
    who has no secret learns nothing of our clock."""
    given = signature.strip().lower().encode()
    # All of them, in constant time each: how long it takes must not tell which one nearly fits.
    fits = [hmac.compare_digest(signed(secret, body, timestamp).encode(), given) for secret in secrets]
    if not any(fits):
        raise BadBatch("bad_signature", "The signature does not fit this body, timestamp and hook.")
    at = moment_of(timestamp)
    if at is None or abs(now - at) > WINDOW:
        raise BadBatch("stale_timestamp", "The timestamp is more than five minutes from now, or is no time.")


def signed(secret: str, body: bytes, timestamp: str) -> str:
    """The signature of a body, in hex."""
    return hmac.new(secret.encode(), body + timestamp.encode("latin-1", "replace"), hashlib.sha256).hexdigest()


def moment_of(text: str) -> datetime | None:
    """An HTTP date, ISO 8601 or Unix seconds; without a zone it is UTC. None: none of them."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) <= 11:
        return datetime.fromtimestamp(int(text), UTC)
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return None


def lines_of(body: bytes, webhook_id: str) -> bytes:
    """The events of a batch, an object a line. `webhook_id`: the header Klaviyo-Webhook-Id; the body names the same.
    Raises BadBatch. What an event lacks is told when its line is read: it is no reason to refuse the others."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadBatch("invalid_batch", "The body is no JSON.") from None
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list) or len(items) > MOST_EVENTS:
        raise BadBatch("invalid_batch", f"The body has no list `data` of at most {MOST_EVENTS} events.")
    meta = document.get("meta")
    named = meta.get("klaviyo_webhook_id") if isinstance(meta, dict) else None
    if webhook_id and named is not None and str(named) != webhook_id:
        raise BadBatch("invalid_batch", "Header and body name two webhooks.")
    return b"".join(_line(item) for item in items)


def _line(item: Any) -> bytes:
    found = item if isinstance(item, dict) else {}
    payload = _object(found.get("payload"))
    event = _object(payload["data"]) if isinstance(payload.get("data"), dict) else payload
    attributes, relationships = _object(event.get("attributes")), _object(event.get("relationships"))
    profile = _object(_object(relationships.get("profile")).get("data"))
    return orjson.dumps(
        {
            "id": found.get("external_id") or event.get("id"),
            "metric": _metric(found.get("topic")),
            "profile_id": profile.get("id"),
            "datetime": attributes.get("datetime") or attributes.get("timestamp"),
            "event_properties": attributes.get("event_properties"),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _metric(topic: Any) -> str | None:
    """`event:klaviyo.opened_email` is about the metric Opened Email."""
    if not isinstance(topic, str):
        return None
    name = topic.rpartition(".")[2].removeprefix("event:").replace("_", " ")
    return _RENAMED.get(name, name).title()


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
