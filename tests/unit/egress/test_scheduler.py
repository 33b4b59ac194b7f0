"""Which hours are due: none missed, none twice, whatever the clock does."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.egress.layout import object_key
from services.egress.model import Cadence, DueHour, Plan
from services.egress.scheduler import Scheduler, closed_until, due_hours, rewrite_at
from shared.clock import FrozenClock
from shared.errors import Outage
from shared.exports import HOUR, Table, hours_between
from shared.messaging.topology import QueueSpec
from shared.schemas.jobs import ExportHourJob, hour_of

ORG = UUID(int=7)
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 3, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis wants naive bounds
cadences = st.sampled_from(["daily", "hourly"])
settles = st.sampled_from([0.0, 900.0, 7200.0])


@given(now=moments, first=moments.map(hour_of), cadence=cadences, settle_s=settles)
def test_every_closed_hour_is_due_exactly_once_and_oldest_first(
    now: datetime, first: datetime, cadence: Cadence, settle_s: float
) -> None:
    due = due_hours(now, cadence, first, (), settle_s)

    assert due == sorted(set(due))
    expected, hour = [], first
    while True:
        closes = hour + HOUR if cadence == "hourly" else hour.replace(hour=0) + timedelta(days=1)
        if closes + timedelta(seconds=settle_s) > now:
            break
        expected.append(hour)
        hour += HOUR
    assert due == expected


@given(
    start=moments,
    looks=st.lists(st.integers(0, 40 * 3600), min_size=1, max_size=12),
    cadence=cadences,
    settle_s=settles,
)
def test_over_many_looks_no_hour_is_due_twice_and_none_is_left_out(
    start: datetime, looks: list[int], cadence: Cadence, settle_s: float
) -> None:
    now = start
    done: list[datetime] = []
    for wait_s in looks:
        now += timedelta(seconds=wait_s)
        done += due_hours(now, cadence, hour_of(start), done, settle_s)

    assert done == due_hours(now, cadence, hour_of(start), (), settle_s)


def test_a_day_is_due_only_when_it_has_closed_and_settled() -> None:
    midnight = datetime(2026, 11, 24, tzinfo=UTC)

    before = due_hours(midnight + timedelta(minutes=14, seconds=59), "daily", NOON, (), 900)
    after = due_hours(midnight + timedelta(minutes=15), "daily", NOON, (), 900)

    assert before == []
    assert after == hours_between(NOON, midnight)


def test_an_hour_is_due_hourly_when_it_has_closed_and_settled() -> None:
    assert due_hours(NOON + timedelta(minutes=74), "hourly", NOON, (), 900) == []
    assert due_hours(NOON + timedelta(minutes=75), "hourly", NOON, (), 900) == [NOON]


def test_the_clock_change_neither_adds_nor_takes_an_hour() -> None:
    before_change = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)  # Europe leaves summer time at 01:00 UTC

    due = due_hours(before_change + timedelta(hours=6), "hourly", before_change, (), 0)

    assert [hour.hour for hour in due] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_the_hours_of_a_year_are_the_same_wherever_the_clock_is(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    first, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    try:
        here = hours_between(first.astimezone(ZoneInfo(zone)), end.astimezone(ZoneInfo(zone)))
        keys = [object_key("", hour.astimezone(ZoneInfo(zone))) for hour in here]
    finally:
        monkeypatch.undo()
        time.tzset()

    assert here == [first + HOUR * n for n in range(365 * 24)]
    assert len(set(keys)) == 365 * 24
    assert keys[0] == "2026/01/01/00/part-000.parquet"


async def test_a_clock_that_jumps_opens_no_hour_twice_and_leaves_none_out() -> None:
    ledger, publisher, clock = FakeLedger(), FakePublisher(), FrozenClock(NOON + timedelta(hours=3, minutes=20))
    looking = scheduler(ledger, publisher, clock)

    for jump_s in (300, -300, 7200, -7200, 7200, 300):  # a step back repeats moments
        clock.advance(jump_s)
        await looking.look()

    end = closed_until(clock.now(), "hourly", 900)
    assert sorted(ledger.hours) == hours_between(NOON, end)
    assert all(publisher.sent.count(hour) >= 1 for hour in hours_between(NOON, end))


async def test_a_target_that_was_given_up_and_is_named_again_begins_with_the_oldest_hour() -> None:
    """Between two looks, so that none of them finds the org without a target."""
    ledger, publisher, clock = FakeLedger(), FakePublisher(), FrozenClock(NOON + timedelta(hours=3, minutes=20))
    looking = scheduler(ledger, publisher, clock)
    await looking.look()
    opened = sorted(ledger.hours)

    ledger.hours.clear()
    ledger.since = clock.now()
    await looking.look()

    assert opened == hours_between(NOON, NOON + timedelta(hours=3))
    assert sorted(ledger.hours) == opened


CADENCES: tuple[Cadence, Cadence] = ("hourly", "daily")


@given(st.integers(0, 60 * 24 * 30), st.integers(0, 59))
def test_what_becomes_known_of_an_hour_is_written_together_and_the_later_the_older_it_is(age: int, minute: int) -> None:
    hour = datetime(2026, 11, 3, 7, tzinfo=UTC)
    now = hour + HOUR + timedelta(minutes=age, seconds=minute)

    hourly, daily = (rewrite_at(now, hour, cadence, 900) - now for cadence in CADENCES)

    assert HOUR <= hourly <= timedelta(days=1)
    assert hourly >= min((now - hour) / 8, timedelta(days=1))
    assert hourly <= daily <= timedelta(days=1, hours=1)
    # Daily: never before the exports of the next day.
    assert closed_until(now + daily, "daily", 900) > closed_until(now, "daily", 900) or daily >= timedelta(days=1)


@dataclass
class FakeLedger:
    """What the runner asks of the store, in memory; `hours` maps an hour to when it is due."""

    cadence: Cadence = "hourly"
    first: datetime | None = NOON
    hours: dict[datetime, datetime] = field(default_factory=dict)
    exported: set[datetime] = field(default_factory=set)
    since: datetime | None = None
    marks: int = 0

    async def plans(self) -> list[Plan]:
        return [Plan(ORG, self.cadence, since=self.since)]

    async def first_hour(self, org_id: UUID, table: Table) -> datetime | None:
        return self.first

    async def known_hours(self, org_id: UUID, table: Table, since: datetime) -> list[datetime]:
        return [hour for hour in self.hours if hour >= since]

    async def ask_variants(self, org_id: UUID, closed_at: datetime, due_at: datetime) -> None:
        raise AssertionError("nobody wants them here")

    async def take_marks(
        self, since: datetime, due_at: Callable[[UUID, datetime], datetime | None]
    ) -> tuple[int, bool]:
        self.marks -= (some := min(self.marks, 10_000))
        return some, some == 10_000

    async def open_hours(self, org_id: UUID, table: Table, hours: Sequence[datetime], due_at: datetime) -> None:
        for hour in hours:
            self.hours.setdefault(hour, due_at)

    async def due(self, now: datetime, settled_before: datetime, limit: int) -> list[DueHour]:
        due = [
            hour
            for hour, at in sorted(self.hours.items())
            if at <= now and hour <= settled_before and hour not in self.exported
        ]
        return [DueHour(ORG, hour, "schedule") for hour in due[:limit]]

    async def late_s(self, now: datetime, settle_s: float) -> float:
        return 0.0

    async def queued(self, due: Sequence[DueHour], again_at: datetime) -> None:
        self.hours |= {hour.hour: again_at for hour in due}


@dataclass
class FakePublisher:
    sent: list[datetime] = field(default_factory=list)
    down: bool = False

    async def send_jobs(self, spec: QueueSpec, org_id: UUID, jobs: Sequence[ExportHourJob]) -> None:
        if self.down:
            raise Outage("the broker is out of reach")
        self.sent += [job.hour for job in jobs]


def scheduler(ledger: FakeLedger, publisher: FakePublisher, clock: FrozenClock) -> Scheduler:
    return Scheduler(ledger, publisher, clock, settle_s=900, tick_s=300, requeue_s=3600)


SLOW = UUID(int=3)  # before ORG in every look


class OneIsSlow(FakeLedger):
    """With an org whose log is so long that nothing is said of it in time."""

    async def plans(self) -> list[Plan]:
        return [Plan(SLOW, self.cadence), Plan(ORG, self.cadence)]

    async def first_hour(self, org_id: UUID, table: Table) -> datetime | None:
        if org_id == SLOW:
            raise Outage("the database did not answer in time", reason="database_timeout")
        return await super().first_hour(org_id, table)


async def test_an_org_that_is_slow_keeps_the_others_waiting_for_one_look_at_the_most() -> None:
    ledger, publisher, clock = OneIsSlow(), FakePublisher(), FrozenClock(NOON + timedelta(hours=1, minutes=20))
    looking = scheduler(ledger, publisher, clock)

    published = []
    for _ in range(4):
        published.append(await looking.look())
        clock.advance(HOUR.total_seconds())

    assert sum(published) == len(publisher.sent)
    assert {NOON, NOON + HOUR} <= set(publisher.sent)


async def test_two_looks_publish_an_hour_once() -> None:
    ledger, publisher, clock = FakeLedger(), FakePublisher(), FrozenClock(NOON + timedelta(hours=2, minutes=20))
    looking = scheduler(ledger, publisher, clock)

    published = [await looking.look(), await looking.look()]

    assert published == [2, 0]
    assert publisher.sent == [NOON, NOON + HOUR]


async def test_an_hour_that_is_still_not_exported_is_published_again_after_a_while() -> None:
    ledger, publisher, clock = FakeLedger(), FakePublisher(), FrozenClock(NOON + timedelta(hours=1, minutes=20))
    looking = scheduler(ledger, publisher, clock)
    await looking.look()

    clock.advance(3599)
    await looking.look()
    too_early = publisher.sent.count(NOON)
    clock.advance(1)
    await looking.look()

    assert too_early == 1
    assert publisher.sent.count(NOON) == 2


async def test_a_long_history_is_opened_piece_by_piece_and_completely() -> None:
    ledger = FakeLedger(first=NOON - timedelta(days=30))
    publisher, clock = FakePublisher(), FrozenClock(NOON)
    looking = scheduler(ledger, publisher, clock)

    opened = []
    for _ in range(6):
        await looking.look()
        opened.append(len(ledger.hours))

    assert opened == [200, 400, 600, 719, 719, 719]
    assert publisher.sent == hours_between(NOON - timedelta(days=30), closed_until(NOON, "hourly", 900))


async def test_a_look_takes_all_marks_however_many_came_since_the_last_one() -> None:
    ledger = FakeLedger(marks=25_000)

    await scheduler(ledger, FakePublisher(), FrozenClock(NOON)).look()

    assert ledger.marks == 0


async def test_rows_from_before_the_first_known_hour_are_found_later() -> None:
    ledger, publisher, clock = FakeLedger(), FakePublisher(), FrozenClock(NOON + timedelta(hours=2, minutes=20))
    looking = scheduler(ledger, publisher, clock)
    await looking.look()

    ledger.first = NOON - HOUR
    await looking.look()

    assert publisher.sent == [NOON, NOON + HOUR, NOON - HOUR]


async def test_an_hour_without_rows_yet_and_an_org_without_rows_publish_nothing() -> None:
    publisher, clock = FakePublisher(), FrozenClock(NOON + timedelta(minutes=30))

    nothing_closed = await scheduler(FakeLedger(), publisher, clock).look()
    nothing_there = await scheduler(FakeLedger(first=None), publisher, clock).look()

    assert (nothing_closed, nothing_there, publisher.sent) == (0, 0, [])


async def test_an_hour_that_a_backfill_exported_while_open_waits_until_it_has_settled() -> None:
    clock = FrozenClock(NOON + timedelta(minutes=30))
    ledger, publisher = FakeLedger(hours={NOON: NOON}), FakePublisher()  # dirty since noon: more rows came
    looking = scheduler(ledger, publisher, clock)

    while_open = await looking.look()
    clock.advance(45 * 60)
    after = await looking.look()

    assert (while_open, after) == (0, 1)


async def test_a_broker_that_is_away_costs_a_look_and_no_hour() -> None:
    clock = FrozenClock(NOON + timedelta(hours=1, minutes=20))
    ledger, publisher, stop = FakeLedger(), FakePublisher(down=True), asyncio.Event()
    running = asyncio.create_task(scheduler(ledger, publisher, clock).run(stop))
    await asyncio.sleep(0)

    for _ in range(5):
        await asyncio.sleep(0)
    publisher.down = False
    clock.advance(300)
    for _ in range(5):
        await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, 2)

    assert publisher.sent == [NOON]
