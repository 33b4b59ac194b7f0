"""Klaviyo's Events API as a source: a folder whose files are windows of time, each an object a line, as
`parse.py` reads them. Line by line in the order of metrics and, of each, of time, so an event is found again by its
window and position.

Calls are paced below the account's share that is ours, 429 is waited out as long as Klaviyo says, and a page that does
not come is asked for again, then in smaller pages from where the last one ended. That is also what is done when a
cursor has expired. Events that come twice for it are told apart by their id, here or in the database.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import aiohttp
import orjson
from yarl import URL

from services.ingest.reading.values import read_time
from services.ingest.records import Listed, Listing, Source, SourceUnreachable
from services.ingest.sources.klaviyo_store import EventSources
from services.ingest.sources.klaviyo_windows import WindowTimes, list_windows, listed, window_of
from shared import logs
from shared.clock import Clock
from shared.crypto import KeyRing, SealError
from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.errors import KeyRefused
from shared.klaviyo.events import PAGE_MAX, Events, Page
from shared.klaviyo.limits import Pacer
from shared.klaviyo.reports import Metric

log = logs.get(__name__)

# The metrics of emails; what templates count as orders and refunds comes on top. All others, a visit to a page among
# them, are many times as many and would be read for nothing.
EMAIL_METRICS: Final = frozenset({
    "received email", "opened email", "clicked email", "bounced email", "dropped email", "marked email as spam",
    "unsubscribed", "unsubscribed from email marketing",
})  # fmt: skip
_WAITS_S: Final = (1.0, 3.0, 10.0, 30.0)  # after a page did not come
_LONGEST_WAIT_S: Final = 900.0  # a longer one is left to the next listing
_BREATH_S: Final = 10.0  # while it waits, the reader says so often that it is alive: its claim must not end
_SMALLEST_PAGE: Final = 10
_BARREN_MAX: Final = 50

_KEY_REFUSED: Final = "Klaviyo refuses the org's key; make another one there and give it with `justai klaviyo rotate`"
_NO_SCOPE: Final = (
    "the org's Klaviyo key lacks the scope {scope} ({name}: Read); make a key that has it and give it with "
    "`justai klaviyo rotate`"
)


@dataclass(slots=True)
class _Position:
    """How far a metric's events are read: the second of the newest, and the ids of all that are of that second."""

    since: datetime
    size: int = PAGE_MAX
    seen: set[str] = field(default_factory=set)
    barren: int = 0  # pages without an event that is new

    def fresh(self, events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those that were not read just before."""
        new = [one for one in events if one.get("id") not in self.seen]
        moments = [moment for one in events if (moment := _moment(one)) is not None]
        newest = max(moments, default=self.since)
        if newest > self.since:
            self.since, self.seen = newest, set()
        self.seen |= {str(one.get("id")) for one in events if _moment(one) in (None, newest)}
        self.barren = 0 if new else self.barren + 1
        if self.barren > _BARREN_MAX:
            raise SourceUnreachable("Klaviyo gives no page beyond the same moment", reason="no_progress")
        return new


class EventFolder:
    """One source's windows, opened."""

    def __init__(
        self, source: Source, events: Events, metrics: Sequence[Metric], stored: EventSources, times: WindowTimes,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._source, self._events, self._metrics = source, events, metrics
        self._stored, self._times, self._clock = stored, times, clock

    async def list(self) -> Listing:
        """See Folder. Klaviyo is asked, so that a key that may not read any more shows at once."""
        with _named("events:read"):
            await _throttled_once(self._events, self._clock)
        now = self._clock.now()
        return list_windows(*await self._stored.days(self._source, now), self._times, now)

    async def look(self, path: str) -> Listed:
        """See Folder. A window does not change."""
        return listed(path)

    async def read(self, path: str, at_most: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """See Folder; an empty block says that it still waits. Raises Changed or SourceUnreachable."""
        skip, left = start, at_most
        async for block in self._blocks(path):
            if not block:
                yield block
                continue
            cut = block[skip:][:left]
            skip, left = max(0, skip - len(block)), left - len(cut)
            if cut:
                yield cut
            if left <= 0:
                return

    async def _blocks(self, path: str) -> AsyncIterator[bytes]:
        window = window_of(path)
        for metric in self._metrics:
            position = _Position(window.since)
            following: URL | None = None
            while True:
                page: Page | None = None
                async for found in self._page(metric, following, position, window.until):
                    if found is None:
                        yield b""
                    page = found
                assert page is not None  # noqa: S101  # the last thing that is found is a page
                if new := position.fresh(page.events):
                    yield b"".join(_line(one, metric) for one in new)
                if page.following is None:
                    break
                following = page.following

    async def _page(
        self, metric: Metric, following: URL | None, position: _Position, until: datetime
    ) -> AsyncIterator[Page | None]:
        """A page, after None for each breath that was waited. Raises SourceUnreachable."""
        failed = 0
        while True:
            try:
                with _named("events:read"):
                    if following is not None:
                        yield await self._events.next_page(following)
                    else:
                        yield await self._events.first_page(metric.metric_id, position.since, until, position.size)
                    return
            except Throttled as throttled:
                wait_s = throttled.wait_s or _WAITS_S[0]
            except Permanent as error:
                if following is None or error.reason == "foreign_next_page":
                    _give_up(error)
                log.info("events.cursor_gone", reason=error.reason)
                following, wait_s = None, 0.0
            except SourceUnreachable:
                raise
            except Transient as error:
                if failed >= len(_WAITS_S):
                    _give_up(error)
                wait_s = _WAITS_S[failed]
                failed += 1
                if failed > 1:  # perhaps it is too much to ask for at once
                    following, position.size = None, max(_SMALLEST_PAGE, position.size // 4)
            if wait_s > _LONGEST_WAIT_S:
                raise SourceUnreachable(
                    f"Klaviyo asks to wait {wait_s:g} s; the window is read again after that",
                    reason="klaviyo_throttled",
                )
            while wait_s > 0:
                await self._clock.sleep(min(wait_s, _BREATH_S))
                wait_s -= _BREATH_S
                yield None


class EventServers:
    """Opens sources of kind `klaviyo`."""

    steps: tuple[str, ...] = ("Find the key", "Find the metrics", "Read events")

    def __init__(
        self, session: aiohttp.ClientSession, stored: EventSources, ring: KeyRing, clock: Clock, times: WindowTimes,
        *, per_min: int,
    ) -> None:  # fmt: skip
        """`per_min`: most calls a minute of one account, by this process."""
        self._session, self._stored, self._ring, self._clock = session, stored, ring, clock
        self._times, self._per_min = times, per_min
        self._pacers: dict[str, Pacer] = {}

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[EventFolder]:
        """Raises SourceUnreachable: a key that is refused may be another one the next time."""
        events = await self._events(source)
        metrics, _ = await self._metrics(source, events)
        yield EventFolder(source, events, metrics, self._stored, self._times, self._clock)

    @asynccontextmanager
    async def reach(self, source: Source, done: Callable[[str], None]) -> AsyncIterator[EventFolder]:
        """See Opener."""
        events = await self._events(source)
        done("The org's own key to Klaviyo.")
        metrics, missing = await self._metrics(source, events)
        names = sorted({metric.name for metric in metrics})
        lacking = f" The account has none called {', '.join(missing)}." if missing else ""
        done(f"{', '.join(names)}.{lacking}")
        with _named("events:read"):
            await events.may_read()
        done("The key may read events.")
        yield EventFolder(source, events, metrics, self._stored, self._times, self._clock)

    async def _events(self, source: Source) -> Events:
        stored = await self._stored.key(source)
        if stored is None:
            raise SourceUnreachable(
                "the org is not connected to Klaviyo; connect it with `justai klaviyo connect`", reason="not_connected"
            )
        try:
            key = self._ring.open(stored.sealed_key, f"{source.org_id}/klaviyo")
        except SealError as error:
            raise SourceUnreachable(f"the org's Klaviyo key is unusable: {error}", reason="sealed") from None
        pacer = self._pacers.setdefault(
            stored.account_key, Pacer(self._clock, per_s=max(1, -(-self._per_min // 60)), per_min=self._per_min)
        )
        with _named("events:read"):
            return Events(self._session, stored.base_url, key, self._clock, pacer)

    async def _metrics(self, source: Source, events: Events) -> tuple[list[Metric], list[str]]:
        """Those that are read, by name and id; and names that templates count and the account does not have."""
        counted = await self._stored.counted_metrics(source)
        wanted = EMAIL_METRICS | counted
        with _named("metrics:read"):
            try:
                known = await events.metrics()
            except (Transient, Throttled) as error:
                _give_up(error)
        found = sorted((one for one in known if one.name.lower() in wanted), key=lambda one: (one.name, one.metric_id))
        return found, sorted(counted - {one.name.lower() for one in known})


async def _throttled_once(events: Events, clock: Clock) -> None:
    """Whether events may be read. Raises SourceUnreachable. A listing may wait a moment, not for a quota."""
    for wait_s in (*_WAITS_S[:2], None):
        try:
            await events.may_read()
        except Throttled:
            return  # the key was looked at before the quota was
        except Transient as error:
            if wait_s is None:
                _give_up(error)
            await clock.sleep(wait_s)
        else:
            return


def _give_up(failure: Failure) -> NoReturn:
    """The window is left to the next listing, and the source says why."""
    raise SourceUnreachable(f"events cannot be read: {failure}", reason=failure.reason) from failure


def _line(event: Mapping[str, Any], metric: Metric) -> bytes:
    """In the shape that files of events have. What is missing makes it a reject, which says so."""
    attributes = event.get("attributes") or {}
    profile = ((event.get("relationships") or {}).get("profile") or {}).get("data") or {}
    return orjson.dumps(
        {
            "id": event.get("id"),
            "metric": metric.name,
            "profile_id": profile.get("id"),
            "datetime": attributes.get("datetime"),
            "event_properties": attributes.get("event_properties"),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def _moment(event: Mapping[str, Any]) -> datetime | None:
    with suppress(Exception):
        return read_time((event.get("attributes") or {}).get("datetime")).astimezone(UTC).replace(microsecond=0)
    return None


@contextmanager
def _named(scope: str) -> Iterator[None]:
    """What a refused key means, in a line that says what to do."""
    try:
        yield
    except KeyRefused as refused:
        if refused.reason == "scope_missing":
            name = scope.partition(":")[0].capitalize()
            raise SourceUnreachable(_NO_SCOPE.format(scope=scope, name=name), reason="scope_missing") from None
        raise SourceUnreachable(_KEY_REFUSED, reason="key_refused") from None
