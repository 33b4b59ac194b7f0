"""What the value of a field says: times, ids, flags and amounts in every way that they are written. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""An event before it is a broken clock or a broken column, not an event."""
LONGEST_DELIVERY, LONGEST_INTEREST, SKEW = timedelta(days=3), timedelta(days=365), timedelta(minutes=-1)
MAX_ID = 200
MAX_URL = 2000
NOTHING = frozenset({"", "\\N", "NULL", "null", "None", "nan"})
"""What exports write where a field is empty. Such a text says nothing, least of all an id that many rows share."""

_METRICS = {
    name.lower(): name
    for name in (
        "Received Email",
        "Opened Email",
        "Clicked Email",
        "Bounced Email",
        "Dropped Email",
        "Marked Email as Spam",
        "Unsubscribed",
        "Unsubscribed from Email Marketing",
        "Updated Email Preferences",
        "Placed Order",
    )
}
OF_EMAILS = frozenset(_METRICS.values()) - {"Placed Order"}
# The rows that are known name no transmission here: the email that did not arrive is a send of its own.
UNSENT = ("Bounced Email", "Dropped Email")
SENDING = ("Received Email", *UNSENT)

_MICROSECONDS, _MILLISECONDS = 1e14, 1e11  # a Unix time above is in that unit
_MOST_VALUE = 1e15  # no order is worth as much, and results take squares of it


class Rejected(Exception):
    """This record is not an event; the text is the reason and quotes no value."""


def read_time(value: Any) -> datetime:
    """Unix seconds (also milli- and microseconds, also as text), or ISO 8601 with `T` or a space; without a zone it
    is UTC. Orders of day and month that differ by country are not read. Raises Rejected."""
    try:
        if isinstance(value, str):
            text = value.strip().removesuffix(" UTC").removesuffix(" GMT")
            if not text[:5].isdigit():  # an ISO time has its first dash there
                moment = datetime.fromisoformat(text)
                return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
            value = float(text)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Rejected("event_at is not a time")
        if value > _MILLISECONDS:
            value /= 1e6 if value > _MICROSECONDS else 1e3
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise Rejected("event_at is not a time") from None


def says_nothing(value: Any) -> bool:
    """Whether the field is empty, in any way that this is written."""
    return value is None or (type(value) is str and value in NOTHING)


def id_of(field: str, value: Any) -> str:
    text = value if type(value) is str else str(value) if type(value) is int else ""
    if text in NOTHING or not _is_id(text):
        text = text.strip()
        if text in NOTHING:
            raise Rejected(f"no {field}")
        if not _is_id(text):
            raise Rejected(f"{field} is not an id")
    return text


def _is_id(text: str) -> bool:
    return 0 < len(text) <= MAX_ID and text.isascii() and text.isprintable() and " " not in text


def id_or_none(field: str, value: Any) -> str | None:
    return None if says_nothing(value) else id_of(field, value)


@lru_cache(maxsize=4096)
def _metric_name(text: str) -> str:
    """Webhooks say `event:klaviyo.opened_email` for `Opened Email`."""
    plain = text.strip()
    known = plain.lower().removeprefix("event:klaviyo.").removeprefix("klaviyo:").replace("_", " ")
    if known in _METRICS:
        return _METRICS[known]
    if plain in NOTHING or len(plain) > MAX_ID or not plain.isprintable():
        raise Rejected("metric is not a name")
    return plain


def metric_of(value: Any) -> str:
    """The metric's name as Klaviyo's pages write it. Raises Rejected."""
    if not isinstance(value, str):
        raise Rejected("no metric")
    return _metric_name(value)


def object_of(value: Any, name: str) -> dict[str, Any]:
    if says_nothing(value):
        return {}
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise Rejected(f"{name} is not JSON") from None
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise Rejected(f"{name} is not an object")
    return value


def flag_of(value: Any) -> bool | None:
    """Klaviyo's aggregates say "1.0" where its events say true. Anything else is not known."""
    if isinstance(value, str):
        return {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(value.lower())
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def cohort_time(value: Any) -> str | None:
    """`$_cohort$message_send_cohort` is `<Unix time of the hand-over>:<message id>`."""
    return value.partition(":")[0] or None if isinstance(value, str) else None


def handoff_of(value: Any, event_at: datetime, metric: str) -> datetime | None:
    """Only a plausible one: a mail server keeps trying for three days, a person may open a year later."""
    try:
        moment = None if value is None else read_time(value)
    except Rejected:
        return None
    longest = LONGEST_DELIVERY if metric in SENDING else LONGEST_INTEREST
    return moment if moment is not None and longest >= event_at - moment >= SKEW else None


def url_of(value: Any) -> str | None:
    return value[:MAX_URL].replace("\0", "") if isinstance(value, str) and value not in NOTHING else None


def currency_of(value: Any) -> str | None:
    """ISO 4217, upper case; anything else is not known."""
    text = value.strip().upper() if isinstance(value, str) else ""
    return text if len(text) == 3 and text.isascii() and text.isalpha() else None


def order_id_of(found: Mapping[str, Any], metric: str) -> str | None:
    """The shop's name of the order, which for its own events `$event_id` is by custom. Never a reason to reject."""
    value = found.get("order_id")
    if says_nothing(value) and metric not in OF_EMAILS:
        value = found.get("own_id")
    text = value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""
    return text if text not in NOTHING and len(text) <= MAX_ID and text.isprintable() else None


def number_of(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < _MOST_VALUE else None  # which is true neither of infinities nor of not-a-number
