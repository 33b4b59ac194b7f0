"""Klaviyo's own totals of emails: by when they were sent (flow values reports) and by when something happened (metric
aggregates). One request tells of all messages. Both work with the scopes that the integration page asks for.

Flow values may be asked for twice a minute and 225 times a day, by all apps of the account together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from shared.clock import Clock
from shared.errors import Permanent
from shared.klaviyo.limits import Pacer
from shared.klaviyo.wire import Wire

STATISTICS: Final = (
    "delivered", "opens", "clicks", "bounced", "unsubscribes", "spam_complaints", "conversions",
)  # fmt: skip
_GROUPS: Final = ("flow_id", "flow_message_id", "send_channel")
_AGGREGATE_ROWS: Final = 1000
_PAGES_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Metric:
    """A kind of event. Ids differ per account; two integrations may have metrics of one name."""

    metric_id: str
    name: str


@dataclass(frozen=True, slots=True)
class FlowTotals:
    """What Klaviyo counts of one message: by name of `STATISTICS`."""

    flow_id: str
    message_id: str
    counts: Mapping[str, int]


class Reports:
    """The totals that one private key may read. Every call waits out 429 and short faults of at most two minutes, and
    raises the failure words of `shared.klaviyo.errors`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, clock: Clock) -> None:
        self._wire = Wire(session, base_url, key, clock)
        self._reports = Pacer(clock, per_s=1, per_min=2)
        self._aggregates = Pacer(clock, per_s=3, per_min=60)
        self._others = Pacer(clock, per_s=1, per_min=15)

    async def time_zone(self) -> str | None:
        """The account's time zone, as IANA calls it; None where it says none. Needs accounts:read."""
        url = self._wire.url("/api/accounts", {"fields[account]": "timezone"})
        document = await self._wire.read(url, "get_accounts", self._others)
        account: dict[str, Any] = next(iter(document.get("data") or []), {})
        zone = (account.get("attributes") or {}).get("timezone")
        return zone if isinstance(zone, str) and zone else None

    async def metrics(self) -> list[Metric]:
        """All metrics of the account. Needs metrics:read."""
        url = self._wire.url("/api/metrics", {"fields[metric]": "name"})
        return [
            Metric(str(item["id"]), str((item.get("attributes") or {}).get("name") or ""))
            async for item in self._wire.items(url, "get_metrics", self._aggregates)
        ]

    async def flow_totals(self, since: date, until: date, conversion_metric_id: str) -> list[FlowTotals]:
        """Of emails sent on the days from `since` up to `until`, in the account's time zone. Needs flows:read.

        Whole days only: nobody says whether a report minds the time of day.
        """
        attributes = {
            "statistics": list(STATISTICS),
            "timeframe": {"start": f"{since}T00:00:00+00:00", "end": f"{until}T00:00:00+00:00"},
            "conversion_metric_id": conversion_metric_id,
            "group_by": list(_GROUPS),
        }
        body = _body("flow-values-report", attributes)
        url = self._wire.url("/api/flow-values-reports", {})
        found: list[FlowTotals] = []
        for _ in range(_PAGES_MAX):
            document = await self._wire.read(url, "query_flow_values", self._reports, body=body)
            found += flow_totals_of(document)
            following = self._wire.next_page(document)
            if following is None:
                return found
            url = following
        raise _endless()

    async def happened(self, metric_id: str, since: datetime, until: datetime) -> dict[str, int]:
        """By flow message, how many events of one metric happened from `since` up to `until`; those of campaigns and of
        no message are left out. Needs metrics:read."""
        attributes: dict[str, Any] = {
            "metric_id": metric_id,
            "measurements": ["count"],
            "by": ["$flow", "$message"],
            "interval": "hour",
            "page_size": _AGGREGATE_ROWS,
            "timezone": "UTC",
            "filter": [f"greater-or-equal(datetime,{_naive(since)})", f"less-than(datetime,{_naive(until)})"],
        }
        url = self._wire.url("/api/metric-aggregates", {})
        found: dict[str, int] = {}
        for _ in range(_PAGES_MAX):
            body = _body("metric-aggregate", attributes)
            document = await self._wire.read(url, "query_metric_aggregates", self._aggregates, body=body)
            for message_id, number in happened_in(document):
                found[message_id] = found.get(message_id, 0) + number
            following = self._wire.next_page(document)
            if following is None:
                return found
            attributes["page_cursor"] = _cursor(following)
        raise _endless()


def flow_totals_of(document: Mapping[str, Any]) -> list[FlowTotals]:
    """The emails of one page of a flow values report. Raises Permanent."""
    try:
        return [
            FlowTotals(
                str(row["groupings"]["flow_id"]),
                str(row["groupings"]["flow_message_id"]),
                {name: _number(row["statistics"].get(name)) for name in STATISTICS},
            )
            for row in document["data"]["attributes"]["results"]
            if row["groupings"].get("send_channel", "email") in ("email", "Email")
        ]
    except (KeyError, TypeError, AttributeError):
        raise _unreadable("flow values report") from None


def happened_in(document: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Message and number of events, of one page of aggregates by flow and message. Raises Permanent."""
    try:
        rows = [(row["dimensions"], row["measurements"]["count"]) for row in document["data"]["attributes"]["data"]]
        return [
            (str(message_id), sum(_number(one) for one in counts))
            for (flow_id, message_id), counts in rows
            if flow_id and message_id
        ]
    except (KeyError, TypeError, ValueError):
        raise _unreadable("metric aggregate") from None


def _number(value: Any) -> int:
    """Counts come as 3 or 3.0; what is not there is none."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return round(value)


def _body(kind: str, attributes: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"data": {"type": kind, "attributes": attributes}})


def _naive(moment: datetime) -> str:
    """In the query's zone, which is UTC here; the document shows no offset."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _cursor(url: URL) -> str:
    """The document puts it into the next body, and does not say how a page names it."""
    cursor = url.query.get("page_cursor") or url.query.get("page[cursor]")
    if not cursor:
        raise _unreadable("metric aggregate")
    return cursor


def _unreadable(what: str) -> Permanent:
    return Permanent(f"Klaviyo's {what} cannot be read", reason="unreadable_answer")


def _endless() -> Permanent:
    return Permanent(f"a report has more than {_PAGES_MAX} pages", reason="endless_pages")
