"""Which column means what. Pure.

Klaviyo publishes no schema for its file export, so columns are found by name: the fields of an event at the top
(`id`, `metric`, `profile_id`, `datetime`), its properties either nested as JSON in one column or flattened into
columns of their own. What cannot be found that way is named by the source's saved mapping. Nothing is guessed from
values.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from services.ingest.records import Event, Unreadable
from shared.event_fields import HASH, REQUIRED_FIELDS, unknown_fields

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = timedelta(days=2)
"""An event outside [EARLIEST, now + FUTURE] is a broken clock or a broken column, not an event."""

LONGEST_DELIVERY, LONGEST_INTEREST, SKEW = timedelta(days=3), timedelta(days=365), timedelta(minutes=-1)
_MAX_COLUMNS = 2000
_IF_NO_ID = f"; if there is no such column, set event_id to {HASH}"
MAX_ID = 200
MAX_URL = 2000

# Names as `_plain` gives them, the better one first. `uuid` is not an id: Klaviyo's holds a time in seconds, and two
# events of one second may share it. `$event_id` neither: its shape differs per metric.
_TOP = {
    "event_id": ("id", "event_id"),
    "metric": ("metric", "metric_name", "event", "event_name"),
    "profile_id": ("profile_id", "person_id", "relationships_profile_data_id"),
    "event_at": ("datetime", "event_datetime", "timestamp", "event_timestamp"),
    "properties": ("event_properties", "properties"),
}
_FLAT = {
    "message_id": ("message", "message_id", "flow_message_id"),
    "flow_id": ("flow", "flow_id"),
    "transmission_id": ("internal_transmission_id", "transmission_id"),
    "handoff_at": ("internal_handoff_time", "handoff_time"),
    "cohort": ("cohortmessage_send_cohort",),
    "machine_open": ("machine_open", "apple_privacy_open"),
    "bot_click": ("bot_click",),
    "url": ("url",),
    "value": ("value",),
    "currency": ("currency_code", "value_currency", "currency"),
    "order_id": ("orderid", "order_id"),
    "own_id": ("event_id",),
    "internal": ("internal",),
}
FIELDS = (*_TOP, *_FLAT)
_OF_ORDERS = ("currency", "order_id", "own_id")

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
_PROPERTY_PREFIX = re.compile(r"^(event[ _])?propert(ies|y)[._]\s*")
_SEPARATORS = re.compile(r"[^a-z0-9$]+")
_MICROSECONDS, _MILLISECONDS = 1e14, 1e11  # a Unix time above is in that unit
_MOST_VALUE = 1e15  # no order is worth as much, and results take squares of it


class Rejected(Exception):
    """This record is not an event; the text is the reason and quotes no value."""


class Columns:
    """Reads records of one shape: a CSV file's rows, or JSON objects with the same keys."""

    def __init__(self, names: Sequence[str], saved: Mapping[str, str], now: datetime) -> None:
        """Raises Unreadable when the names do not tell where the fields are."""
        if len(names) > _MAX_COLUMNS:
            raise Unreadable(f"{len(names)} columns; at most {_MAX_COLUMNS} are read", reason="too_many_columns")
        self._names = names
        self._at = {field: index for field in FIELDS if (index := _find(field, names, saved)) is not None}
        hashed = saved.get("event_id") == HASH
        if missing := [
            field for field in REQUIRED_FIELDS if field not in self._at and not (hashed and field == "event_id")
        ]:
            raise Unreadable(
                f"no column for {', '.join(missing)}; found {_shown(names)}. If one of them is it, say so in the "
                f"source's mapping{_IF_NO_ID if missing == ['event_id'] else ''}.",
                reason="unknown_layout",
            )
        self._id = self._at.get("event_id")
        self._metric, self._profile, self._time = (self._at[field] for field in REQUIRED_FIELDS[1:])
        self._properties = self._at.get("properties")
        self._internal = self._at.get("internal")
        self._flat = {field: index for field, index in self._at.items() if field in _FLAT and field != "internal"}
        self.latest = now + FUTURE
        self.at: Mapping[str, int] = self._at
        """By field, the number of its column."""
        self.count = len(names)

    def read(self, values: Sequence[Any], line: int) -> Event:
        """One event. Raises Rejected."""
        if len(values) != len(self._names):
            raise Rejected(f"{len(values)} values for {len(self._names)} columns")
        found = self._nested(values)
        for field, index in self._flat.items():
            if (value := values[index]) is not None and value != "":
                found[field] = value
        event_at = self._moment(values[self._time])
        metric = metric_of(values[self._metric])
        profile_id = _id("profile_id", values[self._profile])
        message_id = _id_or_none("message_id", found.get("message_id"))
        handoff_at = _handoff(found.get("handoff_at") or _cohort_time(found.get("cohort")), event_at, metric)
        transmission_id = _id_or_none("transmission_id", found.get("transmission_id"))
        if transmission_id is None and message_id and metric in UNSENT:
            transmission_id = f"bounce:{message_id}:{profile_id}:{int((handoff_at or event_at).timestamp())}"
        event = Event(
            line,
            "" if self._id is None else _id("event_id", values[self._id]),
            metric,
            profile_id,
            event_at,
            message_id,
            _id_or_none("flow_id", found.get("flow_id")),
            transmission_id,
            handoff_at,
            flag_of(found.get("machine_open")),
            flag_of(found.get("bot_click")),
            _url(found.get("url")),
            _number(found.get("value")),
            _currency(found.get("currency")),
            _order_id(found, metric),
        )
        return event if self._id is not None else event._replace(event_id=hashed_id(event, found.get("own_id")))

    def _nested(self, values: Sequence[Any]) -> dict[str, Any]:
        """Fields out of the properties, or out of a flattened file's column that still holds `$internal` as JSON."""
        properties = {} if self._properties is None else _object(values[self._properties], "event_properties")
        internal = properties.get("$internal") if self._internal is None else values[self._internal]
        internal = _object(internal, "$internal") if internal else {}
        return {
            "message_id": properties.get("$message"),
            "flow_id": properties.get("$flow"),
            "transmission_id": internal.get("Transmission ID"),
            "handoff_at": internal.get("Handoff Time"),
            "cohort": properties.get("$_cohort$message_send_cohort"),
            "machine_open": properties.get("machine_open"),
            "bot_click": properties.get("Bot Click"),
            "url": properties.get("URL"),
            "value": properties.get("$value"),
            "currency": _first(properties, "$currency_code", "$value_currency", "currency", "Currency"),
            "order_id": _first(properties, "OrderId", "order_id", "Order ID"),
            "own_id": properties.get("$event_id"),
        }

    def _moment(self, value: Any) -> datetime:
        moment = read_time(value)
        if not EARLIEST <= moment <= self.latest:
            raise Rejected("event_at is before 2020 or in the future")
        return moment


def hashed_id(event: Event, own_id: Any) -> str:
    """The id of a row that has none: of what tells events apart. What a later file may correct (flags, the hand-over,
    the flow, a currency) is not in it, so that the row stays the same event."""
    own = str(own_id) if isinstance(own_id, str | int) and own_id != "" else None
    told = [
        event.metric, event.profile_id, event.event_at.isoformat(timespec="microseconds"), event.message_id,
        event.transmission_id, event.url, event.order_id, own, event.value,
    ]  # fmt: skip
    return f"hash:{hashlib.sha256(orjson.dumps(told)).hexdigest()[:32]}"


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


@lru_cache(maxsize=4096)
def _plain(name: str) -> tuple[str, bool]:
    """A name without its spelling, and whether it is a property's: `event_properties.$internal.Transmission ID` →
    (`internal_transmission_id`, True)."""
    text = name.strip().lower().removeprefix("attributes.")  # an event of Klaviyo's, flattened
    inner = _PROPERTY_PREFIX.sub("", text)
    of_property = inner != text or inner.startswith("$")
    return _SEPARATORS.sub("_", inner).replace("$", "").strip("_"), of_property


def _find(field: str, names: Sequence[str], saved: Mapping[str, str]) -> int | None:
    """The index of the field's column. Raises Unreadable when two columns have the name that decides."""
    if field == "event_id" and saved.get(field) == HASH:
        return None
    if field in saved:
        chosen = [index for index, name in enumerate(names) if name == saved[field]]
        if not chosen:
            raise Unreadable(f"the mapping wants {field} from {saved[field]!r}, which is missing", reason="bad_mapping")
    else:
        chosen = _by_rank(field, names)
    if len(chosen) > 1 and field in _OF_ORDERS and field not in saved:
        return chosen[0]  # shops name their properties as they like: no reason to hold a file
    if len(chosen) > 1:
        raise Unreadable(f"the column of {field} is there {len(chosen)} times", reason="duplicate_column")
    return chosen[0] if chosen else None


def _by_rank(field: str, names: Sequence[str]) -> list[int]:
    top = field in _TOP
    for wanted in _TOP[field] if top else _FLAT[field]:
        for of_property in _kinds(wanted, top=top):
            if chosen := [index for index, name in enumerate(names) if _plain(name) == (wanted, of_property)]:
                return chosen
    return []


def _kinds(wanted: str, *, top: bool) -> tuple[bool, ...]:
    """Whether to look among properties (True), other columns (False), or both: a column `message` may hold a text."""
    if top:
        return (False,)
    return (True,) if wanted in ("message", "flow", "internal", "event_id") else (True, False)


def located(names: Sequence[str], saved: Mapping[str, str]) -> dict[str, str]:
    """By field, the name of the column that it would be read from, as far as that can be told."""
    found: dict[str, str] = {}
    for field in FIELDS:
        with suppress(Unreadable):
            if (index := _find(field, names, saved)) is not None:
                found[field] = names[index]
    return found


def check_mapping(saved: object) -> dict[str, str]:
    """A source's saved mapping, as stored. Raises Unreadable when it is none."""
    if saved is None:
        return {}
    if not isinstance(saved, dict) or not all(isinstance(name, str) for name in saved.values()):
        raise Unreadable('the mapping must be {"<field>": "<column name>"}', reason="bad_mapping")
    if strangers := unknown_fields(saved):
        raise Unreadable(
            f"the mapping names unknown fields {strangers}; known are {', '.join(FIELDS)}", reason="bad_mapping"
        )
    return saved


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def _id(field: str, value: Any) -> str:
    text = value if type(value) is str else str(value) if type(value) is int else ""
    if not _is_id(text):
        text = text.strip()
        if not text:
            raise Rejected(f"no {field}")
        if not _is_id(text):
            raise Rejected(f"{field} is not an id")
    return text


def _is_id(text: str) -> bool:
    return 0 < len(text) <= MAX_ID and text.isascii() and text.isprintable() and " " not in text


def _id_or_none(field: str, value: Any) -> str | None:
    return None if value is None or value == "" else _id(field, value)


@lru_cache(maxsize=4096)
def _metric_name(text: str) -> str:
    """Webhooks say `event:klaviyo.opened_email` for `Opened Email`."""
    plain = text.strip()
    known = plain.lower().removeprefix("event:klaviyo.").removeprefix("klaviyo:").replace("_", " ")
    if known in _METRICS:
        return _METRICS[known]
    if not plain or len(plain) > MAX_ID or not plain.isprintable():
        raise Rejected("metric is not a name")
    return plain


def metric_of(value: Any) -> str:
    """The metric's name as Klaviyo's pages write it. Raises Rejected."""
    if not isinstance(value, str):
        raise Rejected("no metric")
    return _metric_name(value)


def _object(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, str) and value:
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


def _cohort_time(value: Any) -> str | None:
    """`$_cohort$message_send_cohort` is `<Unix time of the hand-over>:<message id>`."""
    return value.partition(":")[0] or None if isinstance(value, str) else None


def _handoff(value: Any, event_at: datetime, metric: str) -> datetime | None:
    """Only a plausible one: a mail server keeps trying for three days, a person may open a year later."""
    try:
        moment = None if value is None else read_time(value)
    except Rejected:
        return None
    longest = LONGEST_DELIVERY if metric in SENDING else LONGEST_INTEREST
    return moment if moment is not None and longest >= event_at - moment >= SKEW else None


def _url(value: Any) -> str | None:
    return value[:MAX_URL].replace("\0", "") if isinstance(value, str) and value else None


def _first(properties: Mapping[str, Any], *names: str) -> Any:
    return next((found for name in names if (found := properties.get(name)) not in (None, "")), None)


def _currency(value: Any) -> str | None:
    """ISO 4217, upper case; anything else is not known."""
    text = value.strip().upper() if isinstance(value, str) else ""
    return text if len(text) == 3 and text.isascii() and text.isalpha() else None


def _order_id(found: Mapping[str, Any], metric: str) -> str | None:
    """The shop's name of the order, which for its own events `$event_id` is by custom. Never a reason to reject."""
    value = found.get("order_id")
    if value in (None, "") and metric not in OF_EMAILS:
        value = found.get("own_id")
    text = value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""
    return text if 0 < len(text) <= MAX_ID and text.isprintable() else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < _MOST_VALUE else None  # which is true neither of infinities nor of not-a-number
