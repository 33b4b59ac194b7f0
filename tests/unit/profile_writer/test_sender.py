"""How a turn's writes leave: spaced, bounded, stopped in time. The clock moves only when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import cast
from uuid import UUID

import pytest

from services.profile_writer.content import Contents, Integration
from services.profile_writer.content import Texts as Read
from services.profile_writer.roads import Part, RoadRefused
from services.profile_writer.rows import Key, Pending
from services.profile_writer.sender import Sender
from services.profile_writer.stops import Stops
from services.profile_writer.turn import Report, Turn
from services.profile_writer.turn_rules import NotSent, Sent, Stopped
from shared.clock import FrozenClock
from shared.errors import Permanent, Throttled
from shared.klaviyo.errors import KeyRefused, MaybeApplied, Unsendable
from shared.klaviyo.limits import RateLimit
from tests.unit.profile_writer.given import NOW, ORG, ref, seconds, taken

SPACING_S, TICK_S = 0.02, 0.005


class Texts:
    """Copy and keys from nowhere."""

    def __init__(
        self, missing: Collection[UUID] = (), private_key: str | None = "pk", stopped: Collection[UUID] = ()
    ) -> None:
        self._missing, self._private_key, self._stopped = missing, private_key, frozenset(stopped)

    async def texts(self, rows: Sequence[Pending]) -> Read:
        kept = {row.ref.generation_id for row in rows}.difference(self._missing, self._stopped)
        return Read({id_: {"jai_subject": "Hi"} for id_ in kept}, self._stopped)

    async def integrations(self, org_ids: Collection[UUID]) -> dict[UUID, Integration]:
        return {id_: Integration(id_, "http://klaviyo.example", self._private_key, NOW) for id_ in org_ids}


class Klaviyo:
    """Answers after `latency_s`, or with what `says` gives for the n-th request (from 0)."""

    def __init__(self, clock: FrozenClock, latency_s: float = 0.0, says: Mapping[int, BaseException] = {}) -> None:
        self._clock, self._latency_s, self._says = clock, latency_s, says
        self.sent_at: list[datetime] = []
        self.imported_at: list[datetime] = []
        self.unanswered = self.most_unanswered = 0

    async def patch_profile(
        self, profile_id: str, *, properties: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> RateLimit:
        return await self._answer(self.sent_at)

    async def import_profile(self, profile_id: str, *, properties: Mapping[str, str]) -> RateLimit:
        return await self._answer(self.imported_at)

    async def _answer(self, moments: list[datetime]) -> RateLimit:
        number = len(self.sent_at) + len(self.imported_at)
        moments.append(self._clock.now())
        self.unanswered += 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        try:
            await self._clock.sleep(self._latency_s)
            if number in self._says:
                raise self._says[number]
            return RateLimit(limit=750)
        finally:
            self.unanswered -= 1


def turn(count: int, *, send_s: float = 2.0, answers_s: float = 29.0, in_flight_max: int = 10) -> Turn:
    sends = []
    for number in range(count):
        row = taken(number)
        sends.append(Sent(replace(row, key=Key(row.key.account_key, f"P{number:05}", "jai")), None))
    return Turn(
        UUID(int=77), "acct:A", sends, NOW, NOW + seconds(send_s), NOW + seconds(answers_s), SPACING_S, in_flight_max
    )


@asynccontextmanager
async def sending(
    clock: FrozenClock,
    klaviyo: Klaviyo,
    wanted: Turn,
    texts: Texts | None = None,
    stop: asyncio.Event | None = None,
    stops: Callable[[], Stops] = Stops,
) -> AsyncIterator["asyncio.Task[Report]"]:
    sender = Sender(cast(Contents, texts or Texts()), lambda _: klaviyo, clock, stops)
    task = asyncio.create_task(sender.send(wanted, stop or asyncio.Event()))
    try:
        yield task
    finally:
        task.cancel()


async def play(clock: FrozenClock, task: "asyncio.Task[Report]") -> Report:
    """Let time pass in small steps until the turn is over."""
    for _ in range(20_000):
        await settled()
        if task.done():
            return task.result()
        clock.advance(TICK_S)
    raise AssertionError("the turn does not end")


async def settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def sent(klaviyo: Klaviyo, clock: FrozenClock, wanted: Turn, texts: Texts | None = None) -> Report:
    async with sending(clock, klaviyo, wanted, texts) as task:
        return await play(clock, task)


def gaps_s(moments: Sequence[datetime]) -> list[float]:
    return [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]


async def test_requests_keep_their_distance() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)

    report = await sent(klaviyo, clock, turn(25))

    assert list(report.results) == [None] * 25
    assert min(gaps_s(klaviyo.sent_at)) >= SPACING_S - 1e-9
    assert report.limit == RateLimit(limit=750)
    assert report.last_sent_at == klaviyo.sent_at[-1]


async def test_a_turn_that_was_held_up_does_not_catch_up_in_a_burst() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)

    async with sending(clock, klaviyo, turn(25)) as task:
        for _ in range(20):
            await settled()
            clock.advance(TICK_S)
        clock.advance(0.4)
        await play(clock, task)

    assert min(gaps_s(klaviyo.sent_at)) >= SPACING_S - 1e-9


async def test_no_more_requests_are_unanswered_than_allowed() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, latency_s=0.5)

    report = await sent(klaviyo, clock, turn(12, in_flight_max=4))

    assert klaviyo.most_unanswered == 4
    assert list(report.results) == [None] * 12


async def test_what_a_slow_account_leaves_no_time_for_is_given_back() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, latency_s=1.5)

    report = await sent(klaviyo, clock, turn(12, in_flight_max=4, send_s=2.0))

    assert [type(result) for result in report.results] == [type(None)] * 8 + [NotSent] * 4
    assert max(klaviyo.sent_at) <= NOW + seconds(2)


async def test_nothing_is_on_its_way_when_the_lease_is_over() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, latency_s=3600)

    report = await sent(klaviyo, clock, turn(3))

    assert klaviyo.unanswered == 0
    assert clock.now() <= NOW + seconds(29.1)
    assert [type(result) for result in report.results] == [MaybeApplied] * 3


async def test_the_first_429_ends_the_turn() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={1: Throttled("429", wait_s=5)})

    report = await sent(klaviyo, clock, turn(10))

    assert len(klaviyo.sent_at) == 2
    assert [type(result) for result in report.results] == [type(None), Throttled] + [NotSent] * 8


async def test_a_refused_key_is_tried_once_and_named() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={0: KeyRefused("401", reason="key_refused")})

    report = await sent(klaviyo, clock, turn(5))

    assert len(klaviyo.sent_at) == 1
    assert [(refusal.org_id, refusal.reason, refusal.integration_at) for refusal in report.refusals] == [
        (ORG, "key_refused", NOW)
    ]


async def test_a_key_that_does_not_open_is_a_refused_key() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)

    report = await sent(klaviyo, clock, turn(2), Texts(private_key=None))

    assert klaviyo.sent_at == []
    assert [refusal.reason for refusal in report.refusals] == ["key_not_readable"]


async def test_copy_that_cannot_be_read_costs_its_own_write_only() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)

    report = await sent(klaviyo, clock, turn(3), Texts(missing=[ref(1).generation_id]))

    first, broken, last = report.results
    assert (first, last) == (None, None)
    assert isinstance(broken, Permanent)
    assert broken.reason == "no_stored_copy"


async def test_copy_that_is_stopped_does_not_leave_while_clean_ups_do() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)
    wanted = turn(3)
    clean_up = replace(wanted.sends[2], row=replace(wanted.sends[2].row, action="clean_up"))

    report = await sent(
        klaviyo, clock, replace(wanted, sends=[*wanted.sends[:2], clean_up]), Texts(stopped=[ref(1).generation_id])
    )

    assert [type(result) for result in report.results] == [type(None), Stopped, type(None)]
    assert len(klaviyo.sent_at) == 2


async def test_a_turn_of_stopped_copy_is_over_at_once() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)

    report = await sent(klaviyo, clock, turn(25), Texts(stopped=[ref(number).generation_id for number in range(25)]))

    assert [type(result) for result in report.results] == [Stopped] * 25
    assert klaviyo.sent_at == []
    assert clock.now() - NOW <= seconds(TICK_S)


async def test_news_of_a_stop_ends_the_turns_writes_that_have_not_left() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)
    heard = [Stops()]

    async with sending(clock, klaviyo, turn(10), stops=lambda: heard[-1]) as task:
        await settled()
        before = len(klaviyo.sent_at)
        heard.append(Stops(templates=frozenset({(ORG, "A")})))
        report = await play(clock, task)

    assert len(klaviyo.sent_at) == before
    assert [type(result) for result in report.results] == [type(None)] * before + [NotSent] * (10 - before)


async def test_what_was_heard_before_the_copy_was_read_is_not_held_against_it() -> None:
    """The notification of a resume may be lost; what is stored is asked anyway."""
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)
    old_news = Stops(orgs=frozenset({ORG}))

    async with sending(clock, klaviyo, turn(3), stops=lambda: old_news) as task:
        report = await play(clock, task)

    assert list(report.results) == [None] * 3


async def test_what_nobody_foresaw_costs_its_own_write_only() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={1: RuntimeError("surprise")})

    report = await sent(klaviyo, clock, turn(3))

    first, broken, last = report.results
    assert (first, last) == (None, None)
    assert isinstance(broken, MaybeApplied)
    assert "surprise" not in str(broken)


async def test_a_stopping_writer_gives_back_what_it_has_not_sent() -> None:
    clock, stop = FrozenClock(NOW), asyncio.Event()
    klaviyo = Klaviyo(clock)

    async with sending(clock, klaviyo, turn(10), stop=stop) as task:
        await settled()
        stop.set()
        report = await play(clock, task)

    assert 1 <= len(klaviyo.sent_at) <= 2
    assert sum(isinstance(result, NotSent) for result in report.results) >= 8


async def test_a_write_whose_deadline_passes_in_the_turn_is_not_sent() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)
    late = turn(1)
    late = replace(late, sends=[replace(late.sends[0], row=replace(late.sends[0].row, deadline_at=NOW))])

    report = await sent(klaviyo, clock, late)

    assert klaviyo.sent_at == []
    assert isinstance(report.results[0], NotSent)


async def test_a_turn_that_was_frozen_past_its_time_sends_nothing_of_what_it_had_paid_for() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)
    clock.advance(10)

    report = await sent(klaviyo, clock, turn(10, send_s=1.5))

    assert klaviyo.sent_at == []
    assert all(isinstance(result, NotSent) for result in report.results)


async def test_regression_a_turn_that_was_frozen_in_the_middle_ends_and_gives_back_what_had_not_left() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, latency_s=3600)

    async with sending(clock, klaviyo, turn(25)) as task:
        await settled()
        clock.advance(60)
        report = await play(clock, task)

    assert len(klaviyo.sent_at) == 1
    assert [type(result) for result in report.results] == [MaybeApplied] + [NotSent] * 24


async def test_a_turn_that_is_cancelled_leaves_no_request_on_its_way() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, latency_s=3600)

    async with sending(clock, klaviyo, turn(5)) as task:
        for _ in range(10):
            await settled()
            clock.advance(TICK_S)
        asked = len(klaviyo.sent_at)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        clock.advance(60)
        await settled()

    assert 0 < asked == len(klaviyo.sent_at)
    assert klaviyo.unanswered == 0


def by_two_roads(count: int, *, looks: bool = False, in_flight_max: int = 10) -> Turn:
    """Every other write goes by the second road; of a look only the one in the middle."""
    wanted = turn(count, in_flight_max=in_flight_max)
    imports = {count // 2} if looks else set(range(1, count, 2))
    sends = [replace(one, road="import" if n in imports else "patch") for n, one in enumerate(wanted.sends)]
    return replace(wanted, sends=sends, second=Part(SPACING_S, in_flight_max, looks, 0))


async def test_each_road_keeps_its_own_distance_and_bound() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, latency_s=0.2)

    report = await sent(klaviyo, clock, by_two_roads(40, in_flight_max=4))

    assert list(report.results) == [None] * 40
    assert (len(klaviyo.sent_at), len(klaviyo.imported_at)) == (20, 20)
    assert min(gaps_s(klaviyo.sent_at) + gaps_s(klaviyo.imported_at)) >= SPACING_S - 1e-9
    assert klaviyo.most_unanswered == 8
    assert report.second is not None
    assert report.second.limit == RateLimit(limit=750)


async def test_a_429_on_one_road_ends_that_road_alone() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={1: Throttled("429", wait_s=5)})  # the second request is an import

    report = await sent(klaviyo, clock, by_two_roads(20))

    assert len(klaviyo.sent_at) == 10
    assert len(klaviyo.imported_at) == 1
    assert [type(result) for result in report.results[::2]] == [type(None)] * 10
    assert [type(result) for result in report.results[1::2]] == [Throttled] + [NotSent] * 9


async def test_a_look_leaves_in_its_place_among_the_others() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)

    report = await sent(klaviyo, clock, by_two_roads(25, looks=True))

    assert len(klaviyo.imported_at) == 1
    assert klaviyo.sent_at[11] < klaviyo.imported_at[0] < klaviyo.sent_at[12]
    assert min(gaps_s(sorted([*klaviyo.sent_at, *klaviyo.imported_at]))) >= SPACING_S - 1e-9
    assert report.results == [None] * 25


async def test_on_either_road_what_is_stopped_does_not_leave_and_takes_no_slot() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)

    report = await sent(
        klaviyo, clock, by_two_roads(24), Texts(stopped=[ref(number).generation_id for number in range(22)])
    )

    assert [type(result) for result in report.results] == [Stopped] * 22 + [type(None)] * 2
    assert (klaviyo.sent_at, klaviyo.imported_at) == ([NOW], [NOW])


async def test_news_of_a_stop_ends_what_has_not_left_on_both_roads() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock)
    heard = [Stops()]

    async with sending(clock, klaviyo, by_two_roads(10), stops=lambda: heard[-1]) as task:
        await settled()
        heard.append(Stops(templates=frozenset({(ORG, "A")})))
        report = await play(clock, task)

    assert (len(klaviyo.sent_at), len(klaviyo.imported_at)) == (1, 1)
    assert [type(result) for result in report.results] == [type(None)] * 2 + [NotSent] * 8


async def test_both_roads_end_with_the_lease_and_give_back_what_had_not_left() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, latency_s=3600)

    async with sending(clock, klaviyo, by_two_roads(24)) as task:
        await settled()
        clock.advance(60)
        report = await play(clock, task)

    assert (len(klaviyo.sent_at), len(klaviyo.imported_at), klaviyo.unanswered) == (1, 1, 0)
    assert [type(result) for result in report.results] == [MaybeApplied] * 2 + [NotSent] * 22


async def test_a_refused_operation_ends_its_road_for_the_turn_and_patch_carries_on() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={1: Permanent("405", reason="klaviyo_405")})  # the second request is an import

    report = await sent(klaviyo, clock, by_two_roads(20))

    assert (len(klaviyo.sent_at), len(klaviyo.imported_at)) == (10, 1)
    assert [type(result) for result in report.results[1::2]] == [RoadRefused] + [NotSent] * 9


@pytest.mark.parametrize(
    ("refusal", "becomes", "reason"),
    [
        (Permanent("404", reason="profile_not_found"), Permanent, "profile_not_found"),
        (Permanent("413", reason="body_too_large"), Permanent, "body_too_large"),
        (Permanent("400", reason="invalid"), RoadRefused, "road_refused"),
        (KeyRefused("403", reason="scope_missing"), RoadRefused, "road_refused"),
        (Unsendable("no id", reason="profile_id_invalid"), Unsendable, "profile_id_invalid"),
    ],
)
async def test_what_only_the_second_road_may_refuse_is_no_end_of_a_write(
    refusal: Permanent, becomes: type[Exception], reason: str
) -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={1: refusal})

    report = await sent(klaviyo, clock, by_two_roads(4))

    refused = report.results[1]
    assert type(refused) is becomes
    assert refused.reason == reason
    assert report.refusals == []
    assert report.results[::2] == [None, None]
