"""Windows of time as files: what a source of Klaviyo's events "lists". Pure.

| name | what it is | there from |
|---|---|---|
| `2026-11-23T10:15Z+15m` | the events of a quarter of an hour | its end on |
| `2026-11-23T10:15Z+15m again` | the same, for events that Klaviyo shows late | its end and the overlap on |
| `2026-11-23 whole` | the events of a day (UTC), for those that are later still | the day's end and the late time on |
| `2026-10-05 asked 2026-11-23T10:00:00Z` | a day of a backfill | when it was asked for, on |

Klaviyo answers by when something happened, never by when it came to know of it: only reading again finds what came
late. Events are known by their id, so nothing doubles. A name says everything: which window, and which reading of it,
so the ledger of files is all the state there is. Quarters are there as long as their day's own window is not; a service
that was away for a week goes on with days.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from services.ingest.records import Changed, Listed, Listing
from shared.event_windows import asked_name, days_of

DAY: Final = timedelta(days=1)
SETTLES: Final = timedelta(seconds=30)  # so long after a window's end, at least, it is looked at
_SHORT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)Z\+(\d{1,4})m( again)?")
_WHOLE: Final = re.compile(r"(\d{4}-\d\d-\d\d) whole")
_ASKED: Final = re.compile(r"(\d{4}-\d\d-\d\d) asked (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z")


@dataclass(frozen=True, slots=True)
class WindowTimes:
    """How often windows are read. `window` divides a day; `overlap` after its end one is read again, `late` after its
    end a whole day is."""

    window: timedelta
    overlap: timedelta
    late: timedelta


@dataclass(frozen=True, slots=True)
class Backfill:
    """The days from `since` up to `until`, as somebody wanted them at `asked_at`."""

    since: date
    until: date
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` up to `until`; `from_at`: when it was there to be read, as far as its name tells."""

    since: datetime
    until: datetime
    from_at: datetime


def list_windows(began: date, backfills: Sequence[Backfill], times: WindowTimes, now: datetime) -> Listing:
    """All windows that are there to be read now, of a source that reads from the day `began` on."""
    names = [*_of_backfills(backfills, now), *_live(began, times, now)]
    return Listing([listed(name) for name in dict.fromkeys(names)], 0)


def _of_backfills(backfills: Sequence[Backfill], now: datetime) -> Iterator[str]:
    """Of a day that was asked for twice, the last time counts."""
    asked: dict[date, datetime] = {}
    for one in backfills:
        for day in days_of(one.since, one.until):
            asked[day] = max(one.asked_at, asked.get(day, one.asked_at))
    for day, at in sorted(asked.items()):
        if _midnight(day) + DAY <= now:
            yield asked_name(day, at)


def _live(began: date, times: WindowTimes, now: datetime) -> Iterator[str]:
    day = began
    while _midnight(day) <= now:
        if _midnight(day) + DAY + times.late <= now:
            yield f"{day} whole"
        else:
            yield from _of_day(_midnight(day), times, now)
        day += DAY


def _of_day(starts: datetime, times: WindowTimes, now: datetime) -> Iterator[str]:
    since = starts
    while since + times.window + SETTLES <= now and since < starts + DAY:
        name = f"{since:%Y-%m-%dT%H:%M}Z+{times.window // timedelta(minutes=1)}m"
        yield name
        if since + times.window + times.overlap <= now:
            yield f"{name} again"
        since += times.window


def listed(name: str) -> Listed:
    """The window as a file: its size is not known before it is read. Raises Changed for what is no window's name."""
    return Listed(name, 0, window_of(name).from_at)


def window_of(name: str) -> Window:
    """What a name stands for. Raises Changed where it is none."""
    try:
        if found := _SHORT.fullmatch(name):
            since = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
            until = since + timedelta(minutes=int(found[2]))
            return Window(since, until, until)
        if found := _WHOLE.fullmatch(name):
            since = _midnight(date.fromisoformat(found[1]))
            return Window(since, since + DAY, since + DAY)
        if found := _ASKED.fullmatch(name):
            since = _midnight(date.fromisoformat(found[1]))
            return Window(since, since + DAY, datetime.fromisoformat(found[2]).replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    raise Changed(f"{name} is no window of time", reason="file_gone")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
