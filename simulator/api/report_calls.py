"""Klaviyo's own totals, counted from the box's events: flow values by when an email was sent, metric aggregates by when
an event happened. What the document leaves open (pages of aggregates, whom an order belongs to) is a marked assumption.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from simulator.api import filters
from simulator.api.call import Answer, Call
from simulator.api.jsonapi import Json, decode_cursor, encode_cursor, invalid
from simulator.people import events as shapes
from simulator.people.events import Event

REPORT_FIELDS = ("id", "results")
AGGREGATE_FIELDS = ("id", "data", "dates")
# By statistic, the metric whose events it counts. The others of the document's list are not simulated.
COUNTED: Mapping[str, str] = {
    "delivered": shapes.RECEIVED,
    "opens": shapes.OPENED,
    "clicks": shapes.CLICKED,
    "bounced": shapes.BOUNCED,
    "unsubscribes": shapes.UNSUBSCRIBED,
    "spam_complaints": shapes.SPAM,
}
UNIQUE: Mapping[str, str] = {
    "opens_unique": shapes.OPENED,
    "clicks_unique": shapes.CLICKED,
    "unsubscribe_uniques": shapes.UNSUBSCRIBED,
}
STATISTICS = (*COUNTED, *UNIQUE, "recipients", "conversions", "conversion_uniques", "conversion_value")
GROUPS = ("flow_id", "flow_message_id", "flow_message_name", "send_channel")
REPORT_FILTERS = {name: ("equals", "contains-any") for name in GROUPS}
MEASUREMENTS = ("count", "sum_value", "unique")
DIMENSIONS = (
    "$flow",
    "$message",
    "Bot Click",
    "Bounce Type",
    "Campaign Name",
    "Client Type",
    "Email Domain",
    "Subject",
    "URL",
)
STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
LONGEST = timedelta(days=366)
ATTRIBUTION = timedelta(days=5)  # of an order to an email that was opened or clicked; the default since 2024-10
_BODY = "/data/attributes/"


def query_flow_values(call: Call) -> Answer:
    paths = call.fields("flow-values-report", REPORT_FIELDS)
    asked = _attributes(call, "flow-values-report", ("statistics", "timeframe", "conversion_metric_id"))
    statistics = _each(asked["statistics"], STATISTICS, "statistics")
    if asked["conversion_metric_id"] not in call.account.metrics:
        raise invalid("The conversion metric does not exist.", pointer=f"{_BODY}conversion_metric_id")
    groups = _each(asked.get("group_by") or ["flow_id", "flow_message_id", "send_channel"], GROUPS, "group_by")
    if not {"flow_id", "flow_message_id"} <= set(groups):
        raise invalid("flow_id and flow_message_id are required group-bys.", pointer=f"{_BODY}group_by")
    since, until = _timeframe(call, asked["timeframe"])
    counted = _flow_values(call, statistics, asked["conversion_metric_id"], since, until, asked.get("filter"))
    rows = [
        {"groupings": {name: found.groups[name] for name in groups}, "statistics": found.statistics}
        for found in counted
    ]
    shown, following = _cut(rows, call.query.get("page_cursor"), call.world.settings.report_page_rows)
    links = {"self": f"{call.base}{call.path}"}
    if following is not None:
        links["next"] = f"{call.base}{call.path}?page_cursor={following}"
    return _answer(call, "flow-values-report", {"results": shown}, links, paths)


def query_metric_aggregates(call: Call) -> Answer:
    paths = call.fields("metric-aggregate", AGGREGATE_FIELDS)
    asked = _attributes(call, "metric-aggregate", ("metric_id", "measurements", "filter"))
    if asked["metric_id"] not in call.account.metrics:
        raise invalid("The metric does not exist.", pointer=f"{_BODY}metric_id")
    measurements = _each(asked["measurements"], MEASUREMENTS, "measurements")
    by = _each(asked.get("by") or [], DIMENSIONS, "by")
    step = STEPS.get(asked.get("interval") or "day")
    if step is None:
        raise invalid("The interval must be hour, day or week.", pointer=f"{_BODY}interval")
    zone = _zone(asked.get("timezone") or "UTC", f"{_BODY}timezone")
    since, until = _span(asked["filter"], zone)
    steps = [since + number * step for number in range(-(-(until - since) // step))]
    found = _aggregated(call, asked["metric_id"], measurements, by, steps, until)
    rows = [{"dimensions": list(key), "measurements": values} for key, values in sorted(found.items())]
    shown, following = _cut(rows, asked.get("page_cursor"), asked.get("page_size") or 500)
    links = {"self": f"{call.base}{call.path}"}
    if following is not None:
        links["next"] = f"{call.base}{call.path}?page_cursor={following}"  # assumed: the document shows no example
    data: Json = {"dates": [moment.isoformat() for moment in steps], "data": shown}
    return _answer(call, "metric-aggregate", data, links, paths)


def _answer(call: Call, kind: str, attributes: Json, links: Json, paths: tuple[str, ...] | None) -> Answer:
    kept = {name: value for name, value in attributes.items() if paths is None or name in paths}
    resource = {"type": kind, "id": call.world.ids.uuid4(), "attributes": kept, "links": {"self": links["self"]}}
    return Answer(200, {"data": resource, "links": links})


# --- flow values


@dataclass(slots=True)
class _Message:
    groups: Mapping[str, str]
    statistics: dict[str, float]


def _flow_values(
    call: Call, statistics: Sequence[str], conversion: str, since: datetime, until: datetime, text: str | None
) -> list[_Message]:
    """One row for each message with an email sent in the time. Raises `ApiError`."""
    terms = _terms(text)
    of_message: dict[tuple[str, str], list[Event]] = defaultdict(list)
    names: dict[str, str] = {}
    for event in call.account.events.visible(call.now):
        sent_at = _sent_at(event)
        if "$flow" in event.properties and sent_at is not None and since <= sent_at < until:
            message_id = event.properties["$message"]
            of_message[event.properties["$flow"], message_id].append(event)
            names[message_id] = event.properties["Campaign Name"]
    orders = _orders(call, conversion)
    found = []
    for (flow_id, message_id), events in sorted(of_message.items()):
        groups = {
            "flow_id": flow_id, "flow_message_id": message_id, "flow_message_name": names[message_id],
            "send_channel": "email",
        }  # fmt: skip
        if filters.holds(terms, groups.get):
            own = [order for cause, order in orders if cause in events]
            found.append(_Message(groups, {name: _statistic(name, events, own) for name in statistics}))
    return found


def _terms(text: str | None) -> tuple[filters.Term, ...]:
    try:
        return filters.parse(text, REPORT_FILTERS) if text else ()
    except filters.InvalidFilter as error:
        raise invalid(str(error), pointer=f"{_BODY}filter") from None


def _statistic(name: str, events: Sequence[Event], orders: Sequence[Event]) -> float:
    if name in COUNTED:
        return float(sum(event.metric_name == COUNTED[name] for event in events))
    if name in UNIQUE:
        return float(len({event.profile_id for event in events if event.metric_name == UNIQUE[name]}))
    match name:
        case "recipients":
            return float(sum(event.metric_name in (shapes.RECEIVED, shapes.BOUNCED) for event in events))
        case "conversions":
            return float(len(orders))
        case "conversion_uniques":
            return float(len({order.profile_id for order in orders}))
        case _:
            return round(sum(float(order.properties.get("$value") or 0) for order in orders), 2)


def _orders(call: Call, metric_id: str) -> list[tuple[Event, Event]]:
    """Each order with the open or click that it is attributed to: the person's newest before it, within 5 days."""
    engaged: dict[str, list[Event]] = defaultdict(list)
    orders = []
    for event in call.account.events.visible(call.now):  # in order of time
        if event.metric_name in (shapes.OPENED, shapes.CLICKED):
            engaged[event.profile_id].append(event)
        elif event.metric_id == metric_id:
            orders.append(event)
    found = []
    for order in orders:
        before = engaged[order.profile_id]
        at = bisect_right(before, order.at, key=lambda it: it.at)
        if at and order.at - before[at - 1].at <= ATTRIBUTION:
            found.append((before[at - 1], order))
    return found


def _sent_at(event: Event) -> datetime | None:
    cohort = str(event.properties.get("$_cohort$message_send_cohort") or "").partition(":")[0]
    return datetime.fromtimestamp(int(cohort), UTC) if cohort.isdecimal() else None


def _timeframe(call: Call, asked: Any) -> tuple[datetime, datetime]:
    """In the account's time zone; an offset is ignored, as documented. Raises `ApiError`."""
    zone = _zone(call.account.timezone, "")
    today = call.now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    keys = {"today": (0, 1), "yesterday": (1, 1), "last_7_days": (6, 7), "last_30_days": (29, 30)}
    try:
        if "key" in asked:
            back, days = keys[asked["key"]]
            since = today - timedelta(days=back)
            return since, since + timedelta(days=days)
        since, until = (datetime.fromisoformat(asked[name]).replace(tzinfo=zone) for name in ("start", "end"))
    except (KeyError, TypeError, ValueError):
        raise invalid("The timeframe needs a known key, or start and end.", pointer=f"{_BODY}timeframe") from None
    if not since < until <= since + LONGEST:
        raise invalid("The timeframe must end after its start, within a year.", pointer=f"{_BODY}timeframe")
    return since, until


# --- metric aggregates


def _aggregated(
    call: Call,
    metric_id: str,
    measurements: Sequence[str],
    by: Sequence[str],
    steps: Sequence[datetime],
    until: datetime,
) -> dict[tuple[str, ...], dict[str, list[float]]]:
    """By values of the dimensions, one number for each step."""
    grouped: dict[tuple[str, ...], list[list[Event]]] = {}
    for event in call.account.events.visible(call.now):
        if event.metric_id != metric_id or not (steps and steps[0] <= event.at < until):
            continue
        key = tuple(_dimension(event.properties.get(name)) for name in by)
        of_key = grouped.setdefault(key, [[] for _ in steps])
        of_key[bisect_right(steps, event.at) - 1].append(event)
    measure: Mapping[str, Callable[[Iterable[Event]], float]] = {
        "count": lambda some: float(sum(1 for _ in some)),
        "unique": lambda some: float(len(Counter(event.profile_id for event in some))),
        "sum_value": lambda some: float(sum(float(event.properties.get("$value") or 0) for event in some)),
    }
    return {
        key: {name: [measure[name](some) for some in of_key] for name in measurements}
        for key, of_key in grouped.items()
    }  # fmt: skip


def _dimension(value: Any) -> str:
    """As text; a boolean is "1.0" or "0.0" here, though an event says true or false."""
    if isinstance(value, bool):
        return "1.0" if value else "0.0"
    return "" if value is None else str(value)


def _span(asked: Any, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From the filters, which must say both ends. Raises `ApiError`."""
    pointer = f"{_BODY}filter"
    if not isinstance(asked, list):
        raise invalid("The filter must be a list.", pointer=pointer)
    try:
        allowed = {"datetime": ("greater-or-equal", "less-than")}
        terms = [term for text in asked for term in filters.parse(str(text), allowed)]
    except filters.InvalidFilter as error:
        raise invalid(str(error), pointer=pointer) from None
    ends = {term.operator: term.value for term in terms if isinstance(term.value, datetime)}
    if set(ends) != {"greater-or-equal", "less-than"}:
        raise invalid("The filter must hold greater-or-equal and less-than of datetime.", pointer=pointer)
    # A time without an offset is one of the query's zone; the parser took it for UTC.
    naive = any(text.count("T") == 1 and not _has_offset(text) for text in map(str, asked))
    since, until = (
        value.replace(tzinfo=zone) if naive else value for value in (ends["greater-or-equal"], ends["less-than"])
    )
    if not since < until <= since + LONGEST:
        raise invalid("The time must end after its start, within a year.", pointer=pointer)
    return since, until


def _has_offset(text: str) -> bool:
    clock = text.rpartition("T")[2].rstrip(")")
    return clock.endswith("Z") or "+" in clock or "-" in clock


# --- what both share


def _attributes(call: Call, kind: str, required: Sequence[str]) -> Json:
    """What is asked. Raises `ApiError`."""
    data = call.body["data"]
    if data.get("type") != kind:
        raise invalid(f"The type must be '{kind}'.", pointer="/data/type")
    asked = data.get("attributes")
    if not isinstance(asked, dict):
        raise invalid("Attributes are required.", pointer="/data/attributes")
    for name in required:
        if not asked.get(name):
            raise invalid(f"'{name}' is a required field.", pointer=f"{_BODY}{name}")
    return asked


def _each(asked: Any, known: Sequence[str], name: str) -> list[str]:
    if not isinstance(asked, list) or not set(map(str, asked)) <= set(known):
        raise invalid(f"'{name}' must be a list of known values.", pointer=f"{_BODY}{name}")
    return [str(one) for one in asked]


def _zone(name: str, pointer: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise invalid("This is no time zone.", pointer=pointer) from None


def _cut(rows: list[Json], cursor: Any, size: Any) -> tuple[list[Json], str | None]:
    """One page, and the cursor of the next. Raises `ApiError`."""
    at = decode_cursor(str(cursor)) if cursor else "0"
    if not at.isdecimal() or not isinstance(size, int) or size < 1:
        raise invalid("Invalid page cursor or size.", parameter="page_cursor")
    following = int(at) + size
    return rows[int(at) : following], encode_cursor(str(following)) if following < len(rows) else None
