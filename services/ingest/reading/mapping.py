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
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

from services.ingest.reading.values import (
    EARLIEST,
    UNSENT,
    Rejected,
    cohort_time,
    currency_of,
    flag_of,
    handoff_of,
    id_of,
    id_or_none,
    metric_of,
    number_of,
    object_of,
    order_id_of,
    read_time,
    says_nothing,
    url_of,
)
from services.ingest.records import Event, Unreadable
from shared.event_fields import HASH, REQUIRED_FIELDS, unknown_fields

FUTURE = timedelta(days=2)
"""An event after now + FUTURE is one too; see EARLIEST."""

_MAX_COLUMNS = 2000
_IF_NO_ID = f"; if there is no such column, set event_id to {HASH}"

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

_PROPERTY_PREFIX = re.compile(r"^(event[ _])?propert(ies|y)[._]\s*")
_SEPARATORS = re.compile(r"[^a-z0-9$]+")


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
            if not says_nothing(value := values[index]):
                found[field] = value
        event_at = self._moment(values[self._time])
        metric = metric_of(values[self._metric])
        profile_id = id_of("profile_id", values[self._profile])
        message_id = id_or_none("message_id", found.get("message_id"))
        handoff_at = handoff_of(found.get("handoff_at") or cohort_time(found.get("cohort")), event_at, metric)
        transmission_id = id_or_none("transmission_id", found.get("transmission_id"))
        if transmission_id is None and message_id and metric in UNSENT:
            transmission_id = f"bounce:{message_id}:{profile_id}:{int((handoff_at or event_at).timestamp())}"
        event = Event(
            line,
            "" if self._id is None else id_of("event_id", values[self._id]),
            metric,
            profile_id,
            event_at,
            message_id,
            id_or_none("flow_id", found.get("flow_id")),
            transmission_id,
            handoff_at,
            flag_of(found.get("machine_open")),
            flag_of(found.get("bot_click")),
            url_of(found.get("url")),
            number_of(found.get("value")),
            currency_of(found.get("currency")),
            order_id_of(found, metric),
        )
        return event if self._id is not None else event._replace(event_id=hashed_id(event, found.get("own_id")))

    def _nested(self, values: Sequence[Any]) -> dict[str, Any]:
        """Fields out of the properties, or out of a flattened file's column that still holds `$internal` as JSON."""
        properties = {} if self._properties is None else object_of(values[self._properties], "event_properties")
        internal = properties.get("$internal") if self._internal is None else values[self._internal]
        internal = object_of(internal, "$internal") if internal else {}
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


def _first(properties: Mapping[str, Any], *names: str) -> Any:
    return next((found for name in names if not says_nothing(found := properties.get(name))), None)


def hashed_id(event: Event, own_id: Any) -> str:
    """The id of a row that has none: of what tells events apart. What a later file may correct (flags, the hand-over,
    the flow, a currency) is not in it, so that the row stays the same event."""
    own = str(own_id) if isinstance(own_id, str | int) and own_id != "" else None
    told = [
        event.metric, event.profile_id, event.event_at.isoformat(timespec="microseconds"), event.message_id,
        event.transmission_id, event.url, event.order_id, own, event.value,
    ]  # fmt: skip
    return f"hash:{hashlib.sha256(orjson.dumps(told)).hexdigest()[:32]}"


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
