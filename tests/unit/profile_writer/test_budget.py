"""No fixed window of any phase is ever exceeded, whatever is asked for when, and whatever the clocks do."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.profile_writer.quota.budget import SLACK_S, STEADY_S, Budget, factor_after_calm, factor_after_throttling
from services.profile_writer.quota.phase import phase_seen

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
LIMITS = st.tuples(st.integers(1, 200), st.integers(1, 2000), st.floats(0.3, 1.0))
ASKS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 200)), max_size=60)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@given(LIMITS, ASKS, st.floats(0, 60), st.lists(st.floats(0, SLACK_S), min_size=60, max_size=60))
def test_no_minute_of_any_phase_sees_more_than_the_steady_limit(
    limits: tuple[int, int, float], asks: list[tuple[float, int]], phase: float, delays: list[float]
) -> None:
    budget, elapsed = Budget(*limits), 0.0
    arrivals: list[tuple[float, int]] = []

    for (pause, wanted), delay in zip(asks, delays, strict=False):
        elapsed += pause
        budget = budget.at(after(elapsed))
        granted = min(wanted, budget.room(after(elapsed)))
        budget = budget.paid(granted)
        arrivals.append((elapsed + delay, granted))

    minutes: dict[int, int] = {}
    for at, count in arrivals:
        minutes[int((at + phase) // STEADY_S)] = minutes.get(int((at + phase) // STEADY_S), 0) + count
    assert max(minutes.values(), default=0) <= max(1, limits[1] * limits[2])


@given(st.integers(8, 400), st.floats(0.3, 1.0), st.floats(0.001, 5))
def test_no_second_of_any_phase_can_see_more_than_the_burst_limit(burst: int, factor: float, latency_s: float) -> None:
    """All that is unanswered arrives at the start of the second, and as many as may leave follow."""
    budget = Budget(burst, 700, factor)

    unanswered = min(budget.in_flight_max, latency_s / budget.spacing_s + 1)
    leaving = 1 / budget.spacing_s + 1

    if budget.spacing_s < 2:  # the floor below which an account could not be served at all
        assert unanswered + leaving <= max(burst * factor, budget.in_flight_max + 1.5) + 1e-9


@given(ASKS, st.floats(0, 599))
def test_a_clock_that_goes_back_gains_nothing(asks: list[tuple[float, int]], back_s: float) -> None:
    """Time stands still for it: what was paid stays paid, and no token more than the ceiling is there."""
    budget, elapsed = Budget(75, 700, 0.9), 0.0

    for pause, wanted in asks:
        elapsed += pause
        budget = budget.at(after(elapsed))
        budget = budget.paid(min(wanted, budget.room(after(elapsed))))
        behind = budget.at(after(elapsed - back_s))

        room = budget.room(after(elapsed))
        assert behind.room(after(elapsed - back_s)) == room
        assert behind.paid(room).at(after(elapsed)).room(after(elapsed)) == 0


def test_a_row_from_the_far_future_heals_within_a_minute() -> None:
    ahead = Budget(75, 700, 0.9).at(after(86_400)).paid(10)

    now = ahead.at(START)

    assert now.room(START) == 0
    later = after(STEADY_S + SLACK_S + 1)
    assert now.at(later).room(later) == now.blind_ceiling


@given(ASKS)
def test_waiting_as_long_as_told_always_finds_room(asks: list[tuple[float, int]]) -> None:
    budget, elapsed = Budget(75, 50, 0.9), 0.0

    for pause, wanted in asks:
        elapsed += pause
        budget = budget.at(after(elapsed))
        if wait_s := budget.wait_s(after(elapsed)):
            assert budget.room(after(elapsed)) == 0
            later = after(elapsed + wait_s + 1e-6)
            assert budget.at(later).room(later) > 0
        budget = budget.paid(min(wanted, budget.room(after(elapsed))))


def test_clean_up_leaves_its_share_to_fresh_writes() -> None:
    budget = Budget(75, 1000, 1.0).at(START).paid(400)

    assert budget.blind_ceiling == 900
    assert budget.room(START, 0.5) == 50
    assert budget.paid(50).room(START, 0.5) == 0
    assert budget.paid(50).room(START) == 450


def test_a_token_that_was_not_used_comes_back_to_the_second_it_was_paid_in() -> None:
    paid_at = START
    budget = Budget(75, 100, 1.0).at(paid_at).paid(90).at(after(10))

    refunded = budget.refunded(int(paid_at.timestamp()), 40)

    assert (budget.room(after(10)), refunded.room(after(10))) == (0, 40)
    later = after(STEADY_S + SLACK_S + 1)
    assert refunded.at(later).room(later) == 90
    assert budget.refunded(int(paid_at.timestamp()) - 1000, 40) == budget


def test_three_quarters_of_a_fresh_quota_go_out_in_seconds_and_the_rest_by_the_minute() -> None:
    budget = Budget(75, 750, 1.0)

    assert (budget.ceiling, budget.blind_ceiling) == (750, 675)
    assert 1 / budget.spacing_s > 50
    assert budget.in_flight_max == 10


def test_the_factor_falls_fast_and_climbs_back_slowly() -> None:
    assert factor_after_throttling(0.9) == 0.9 * 0.8
    assert factor_after_throttling(0.31) == 0.3
    assert factor_after_calm(0.5, 59) == 0.5
    assert factor_after_calm(0.5, 121) == 0.6
    assert factor_after_calm(0.94, 600) == 1.0


def test_the_quota_is_scarce_when_half_of_it_is_gone_whoever_took_it() -> None:
    fresh = replace(Budget(75, 750, 1.0), phase=phase_seen(50, START, START)).at(after(5))

    assert not fresh.scarce(after(5))
    assert fresh.paid(375).scarce(after(5))
    assert fresh.told(750, 370, after(5), after(5)).scarce(after(5))
