"""How a turn's writes leave: spaced, bounded, stopped in time. The clock moves only when the test says so."""

import asyncio
from dataclasses import replace

from services.profile_writer.rows import NotSent, Stopped
from services.profile_writer.stops import Stops
from shared.clock import FrozenClock
from shared.errors import Permanent, Throttled
from shared.klaviyo.errors import KeyRefused, MaybeApplied, NoAnswer
from shared.klaviyo.limits import RateLimit
from tests.unit.profile_writer.given import NOW, ORG, ref, seconds
from tests.unit.profile_writer.sending import (
    SPACING_S,
    TICK_S,
    Klaviyo,
    Texts,
    gaps_s,
    play,
    sending,
    sent,
    settled,
    turn,
)


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
    assert [type(result) for result in report.results] == [NoAnswer] * 3


async def test_the_first_429_ends_the_turn() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={1: Throttled("429", wait_s=5)})

    report = await sent(klaviyo, clock, turn(10))

    assert len(klaviyo.sent_at) == 2
    assert [type(result) for result in report.results] == [type(None), Throttled] + [NotSent] * 8


async def test_five_calls_lost_in_a_row_end_the_turn() -> None:
    clock = FrozenClock(NOW)
    klaviyo = Klaviyo(clock, says={number: MaybeApplied("503", reason="klaviyo_503") for number in range(3, 10)})

    report = await sent(klaviyo, clock, turn(25))

    assert [type(result) for result in report.results] == [type(None)] * 3 + [MaybeApplied] * 5 + [NotSent] * 17
    assert len(klaviyo.sent_at) == 8


async def test_answers_between_lost_calls_keep_the_turn_going() -> None:
    clock = FrozenClock(NOW)
    lost = {number: MaybeApplied("503", reason="klaviyo_503") for number in range(25) if number % 5}
    klaviyo = Klaviyo(clock, says={**lost, 10: Permanent("no such profile", reason="profile_not_found")})

    report = await sent(klaviyo, clock, turn(25))

    assert len(klaviyo.sent_at) == 25
    assert sum(isinstance(result, MaybeApplied) for result in report.results) == 20


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
    assert [type(result) for result in report.results] == [NoAnswer] + [NotSent] * 24


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
