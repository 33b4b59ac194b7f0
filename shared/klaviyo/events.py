"""Reading events: `GET /api/events`, one metric and window of time after the other, page by page.

Klaviyo counts the calls of this operation apart (350 a second, 3,500 a minute and account), so they take nothing from
the quota of profile writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from yarl import URL

from shared.clock import Clock
from shared.errors import Permanent
from shared.klaviyo.limits import Pacer
from shared.klaviyo.reports import Metric
from shared.klaviyo.wire import Wire, parsed

PAGE_MAX: Final = 1000
_PAGE_BYTES: Final = 24_000_000  # a thousand usual events take 2 MB; one may hold up to 5
_PAGE_S: Final = 60.0  # real seconds


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, as Klaviyo gives them, oldest first, and where more are."""

    events: Sequence[Mapping[str, Any]]
    following: URL | None


class Events:
    """The events that one private key may read. Every call is tried once and raises the failure words of
    `shared.klaviyo.errors`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, clock: Clock, pacer: Pacer) -> None:
        """`pacer` keeps all who read events of the account below their share of its quota."""
        self._wire = Wire(session, base_url, key, clock)
        self._pacer, self._metrics_pacer = pacer, Pacer(clock, per_s=3, per_min=60)

    async def metrics(self) -> list[Metric]:
        """All metrics of the account. Needs metrics:read."""
        url = self._wire.url("/api/metrics", {"fields[metric]": "name"})
        return [
            Metric(str(item["id"]), str((item.get("attributes") or {}).get("name") or ""))
            async for item in self._wire.items(url, "get_metrics", self._metrics_pacer)
        ]

    async def may_read(self) -> None:
        """Raises KeyRefused unless the key may read events."""
        await self._page(self._wire.url("/api/events", {"fields[event]": "datetime", "page[size]": "1"}))

    async def first_page(self, metric_id: str, since: datetime, until: datetime, size: int = PAGE_MAX) -> Page:
        """The oldest events of a metric that happened from `since` up to `until`. Needs events:read."""
        within = f"greater-or-equal(datetime,{_moment(since)}),less-than(datetime,{_moment(until)})"
        query = {
            "filter": f'equals(metric_id,"{metric_id}"),{within}',
            "fields[event]": "datetime,event_properties",
            "sort": "datetime",
            "page[size]": str(size),
        }
        return await self._page(self._wire.url("/api/events", query))

    async def next_page(self, following: URL) -> Page:
        """The page that another one named. Permanent (`invalid`): it has to be asked for anew, from where it ended."""
        return await self._page(following)

    async def _page(self, url: URL) -> Page:
        await self._pacer.turn()
        answer = await self._wire.call("GET", url, "get_events", within_s=_PAGE_S, most_bytes=_PAGE_BYTES)
        document = parsed(answer.body)
        events = document.get("data")
        if not isinstance(events, list) or not all(isinstance(one, dict) for one in events):
            raise Permanent("Klaviyo's page of events cannot be read", reason="unreadable_answer")
        return Page(events, self._wire.next_page(document))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
