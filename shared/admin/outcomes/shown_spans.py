"""Spans that emails are counted by, and which of them a look back is made of. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

QUARTER: Final = timedelta(minutes=15)
SPANS: Final = (
    timedelta(weeks=1), timedelta(days=1), timedelta(hours=12), timedelta(hours=3), timedelta(hours=1), QUARTER
)  # fmt: skip
"""Longest first; each holds a whole number of the next. A look back of a day is made of about ten."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Parts:
    """`kept`: counted spans as (minutes, beginning). `live`: times (from, until) that are read from the facts."""

    kept: list[tuple[int, datetime]]
    live: list[tuple[datetime, datetime]]


def span_start(at: datetime, span: timedelta) -> datetime:
    """The beginning of the span that the moment lies in, UTC."""
    return at - (at - _EPOCH) % span


def minutes(span: timedelta) -> int:
    """As `shown_counts.span` says it."""
    return int(span.total_seconds() // 60)


def parts_of(since: datetime, until: datetime, live: Collection[datetime]) -> Parts:
    """What to read for the quarters from `since` to before `until`, both at the edge of one: few long spans rather than
    many short ones, and none that holds a quarter of `live`."""
    kept: list[tuple[int, datetime]] = []
    unusable = {(span, span_start(quarter, span)) for quarter in live for span in SPANS}
    at = since
    while at < until:
        fitting = (one for one in SPANS if span_start(at, one) == at and at + one <= until)
        span = next((one for one in fitting if (one, at) not in unusable), None)
        if span is not None:
            kept.append((minutes(span), at))
        at += span or QUARTER
    return Parts(kept, _joined(quarter for quarter in live if since <= quarter < until))


def _joined(quarters: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """Neighbours as one time."""
    found: list[tuple[datetime, datetime]] = []
    for quarter in sorted(quarters):
        if found and found[-1][1] == quarter:
            found[-1] = (found[-1][0], quarter + QUARTER)
        else:
            found.append((quarter, quarter + QUARTER))
    return found


def columns(kept: Sequence[tuple[int, datetime]]) -> tuple[list[int], list[datetime]]:
    """For SQL's unnest."""
    return [span for span, _ in kept], [at for _, at in kept]
