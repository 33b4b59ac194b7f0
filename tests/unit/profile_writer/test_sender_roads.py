"""How a turn's writes leave by two roads: each with its own distance, bound and end."""

from dataclasses import replace

import pytest

from services.profile_writer.rows import NotSent, Stopped
from services.profile_writer.stops import Stops
from services.profile_writer.turns.roads import Part, RoadRefused
from services.profile_writer.turns.turn import Turn
from shared.clock import FrozenClock
from shared.errors import Permanent, Throttled
from shared.klaviyo.errors import KeyRefused, NoAnswer, Unsendable
from shared.klaviyo.limits import RateLimit
from tests.unit.profile_writer.given import NOW, ORG, ref
from tests.unit.profile_writer.sending import SPACING_S, Klaviyo, Texts, gaps_s, play, sending, sent, settled, turn


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
    assert [type(result) for result in report.results] == [NoAnswer] * 2 + [NotSent] * 22


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
