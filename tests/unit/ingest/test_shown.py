"""Counting what emails showed: which marks raise what, and how much of the time may go into it."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.ingest.counting.shown import ShownCounter, raised_by
from shared import metrics
from shared.clock import FrozenClock
from shared.errors import Outage
from tests.support.waiting import eventually

ORG, OTHER = UUID(int=1), UUID(int=2)
QUARTER = datetime(2026, 11, 23, 10, tzinfo=UTC)
LATER = QUARTER + timedelta(minutes=15)
TICK = timedelta(seconds=5)


def mark(org_id: UUID, at: datetime | None = None, day: date | None = None, *, came: bool = False) -> dict[str, Any]:
    return {"org_id": org_id, "at": at, "day": day, "came": came}


def test_marks_raise_each_quarter_once_and_in_one_order() -> None:
    raised = raised_by([mark(OTHER, LATER), mark(ORG, LATER, came=True), mark(ORG, QUARTER), mark(ORG, LATER)])

    assert raised.quarters == [(ORG, QUARTER), (ORG, LATER), (OTHER, LATER)]


def test_of_generations_that_came_the_earliest_quarter_counts_and_of_others_none() -> None:
    raised = raised_by([mark(ORG, LATER, came=True), mark(ORG, QUARTER, came=True), mark(OTHER, QUARTER)])

    assert raised.first_came == [(ORG, QUARTER)]
    assert raised.came == [(ORG, QUARTER), (ORG, LATER)]


def test_generations_that_came_tell_each_of_their_days_once() -> None:
    night = QUARTER - timedelta(hours=11)
    raised = raised_by([mark(OTHER, QUARTER), *(mark(ORG, at, came=True) for at in (LATER, night, QUARTER))])

    assert raised.days_came == [(ORG, night.date()), (ORG, QUARTER.date())]


def test_outcomes_tell_days_and_no_quarters() -> None:
    raised = raised_by([mark(ORG, day=QUARTER.date()), mark(ORG, day=QUARTER.date())])

    assert (raised.days, raised.quarters, raised.came) == ([(ORG, QUARTER.date())], [], [])
    assert raised.days_came == []


class Slow:
    """Counts whose every quarter takes two seconds; the third look at marks fails."""

    def __init__(self, clock: FrozenClock) -> None:
        self.clock, self.looks, self.counted, self.asked = clock, 0, 0, list[datetime]()

    async def take_marks(self, now: datetime) -> bool:
        self.looks += 1
        if self.looks == 3:
            raise Outage("the database is away")
        return False

    async def count_quarter(self, now: datetime) -> bool:
        self.clock.advance(2)
        self.counted += 1
        return True

    async def stale_since(self, since: datetime) -> Mapping[tuple[str, ...], float]:
        self.asked.append(since)
        return {("acme",): 3}

    async def uncounted_since(self, since: datetime) -> datetime | None:
        return None


async def test_a_count_rests_as_long_as_it_took_and_an_outage_is_waited_out() -> None:
    clock, stop = FrozenClock(), asyncio.Event()
    counts = Slow(clock)
    running = asyncio.create_task(ShownCounter(counts, clock, TICK).run(stop))

    await eventually(lambda: counts.counted == 1)
    clock.advance(1.9)
    await asyncio.sleep(0)
    assert counts.looks == 1
    await eventually(lambda: _wakes(clock, 0.1, lambda: counts.looks == 2))
    await eventually(lambda: _wakes(clock, 2, lambda: counts.looks == 3))
    await eventually(lambda: _wakes(clock, TICK.total_seconds(), lambda: counts.looks == 4))

    stop.set()
    await asyncio.wait_for(running, 5)
    assert counts.counted == 3
    assert counts.asked == [FrozenClock().now() - timedelta(days=1)]  # less than a minute went by


class Broken:
    """Counts of which one call fails always: the quarter that is due is never counted."""

    def __init__(self, clock: FrozenClock, fails: str) -> None:
        self.fails, self.raised_at, self.tries = fails, clock.now(), 0

    async def _may_fail(self, what: str) -> None:
        if what == self.fails:
            self.tries += 1
            raise Outage("the statement takes too long")

    async def take_marks(self, now: datetime) -> bool:
        await self._may_fail("marks")
        return False

    async def count_quarter(self, now: datetime) -> bool:
        await self._may_fail("quarter")
        return False

    async def stale_since(self, since: datetime) -> Mapping[tuple[str, ...], float]:
        await self._may_fail("stale")
        return {}

    async def uncounted_since(self, since: datetime) -> datetime | None:
        return self.raised_at if self.fails == "quarter" else None


@pytest.mark.parametrize(("fails", "least_s"), [("quarter", 1800), ("marks", 1800), ("stale", 1800), ("nothing", 0)])
async def test_where_counting_fails_for_ever_it_is_told_for_how_long(fails: str, least_s: float) -> None:
    clock, stop = FrozenClock(), asyncio.Event()
    running = asyncio.create_task(ShownCounter(Broken(clock, fails), clock, TICK).run(stop))
    ends = clock.now() + timedelta(seconds=1900)

    await eventually(lambda: _wakes(clock, 60, lambda: clock.now() >= ends))

    stop.set()
    await asyncio.wait_for(running, 5)
    behind_s = metrics.REGISTRY.get_sample_value("jai_shown_behind_seconds")
    assert behind_s is not None
    assert least_s <= behind_s <= least_s + 120


def _wakes(clock: FrozenClock, seconds: float, reached: Any) -> bool:
    if reached():
        return True
    clock.advance(seconds)
    return False
