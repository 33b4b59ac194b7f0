"""Intervals that hold at every look, the lift made of them, the sample ratio, and the plan beforehand."""

import math
import random
from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis.strategies import floats, integers

from shared.inference.lift import Lift, Undecided, compare, design_effect, measure, of_amounts, of_rates, person_effect
from shared.inference.power import found_by, plan, sends_needed
from shared.inference.ratio import draws_fit, sample_ratio
from shared.inference.sequence import TUNED_FOR, Interval, Moments, NotEnough, mixing, widening
from shared.inference.strata import Strata
from tests.unit.inference.given import day_of

counts = integers(1, 200_000)
rates = floats(0.0005, 0.5)


def lift_of(result: Lift | NotEnough) -> Lift:
    found = result.so_far if isinstance(result, Undecided) else result
    assert isinstance(found, Lift)
    return found


def one_day(treated: int, treated_events: int, controls: int, control_events: int) -> Strata:
    return Strata.of(day_of(date(2026, 11, 4), treated, treated_events, controls, control_events))


# --- the line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("t", "expected"), [(1_000, 5.25), (30_000, 3.04), (300_000, 3.25)])
def test_the_interval_is_narrowest_where_it_is_tuned_for_and_never_that_of_a_single_look(
    t: float, expected: float
) -> None:
    assert widening(t) == pytest.approx(expected, abs=0.01)
    assert widening(t) >= widening(TUNED_FOR) - 1e-9 > 1.96


def test_the_line_is_the_one_of_robbins_mixture() -> None:
    """sqrt(r / (t + r)) exp(B² / 2(t + r)) = 1 / alpha at B on the line."""
    t, alpha = 12_345.0, 0.05
    r = mixing(TUNED_FOR, alpha)
    line = widening(t) * math.sqrt(t)

    assert math.sqrt(r / (t + r)) * math.exp(line**2 / (2 * (t + r))) == pytest.approx(1 / alpha)


def test_a_walk_without_drift_hardly_ever_leaves_the_line_at_any_step() -> None:
    rng, walks, left = random.Random(7), 300, 0
    for _ in range(walks):
        position = 0.0
        for step in range(1, 401):
            position += rng.gauss(0, math.sqrt(250))
            if abs(position) > widening(250 * step) * math.sqrt(250 * step):
                left += 1
                break

    assert left / walks <= 0.05


def test_moments_of_amounts_are_the_mean_and_the_variance_with_a_typical_order_more() -> None:
    amounts = [0.0, 0.0, 12.5, 40.0]

    found = Moments.of_amounts(4, sum(amounts), sum(amount * amount for amount in amounts), 900.0)

    assert found.mean == 13.125
    assert found.variance == pytest.approx((12.5**2 + 40.0**2 + 30.0**2) / 6 - 13.125**2)
    assert Moments.of_amounts(4, 0.0, 0.0, 900.0).variance > 0
    assert Moments.of_amounts(0, 0.0, 0.0, 900.0).n == 0
    assert Moments.of_rate(0, 10).variance > 0


# --- lift ------------------------------------------------------------------------------------------------------------


@given(counts, counts, rates, rates)
def test_the_lift_is_decided_exactly_when_the_difference_is(n1: int, n0: int, p1: float, p0: float) -> None:
    result = compare(Moments.of_rate(round(n1 * p1), n1), Moments.of_rate(round(n0 * p0), n0))

    assume(isinstance(result, Lift))
    found = lift_of(result)
    high = found.lift_within.high
    assert found.lift_within.low <= found.lift + 1e-9
    assert high is None or found.lift <= high + 1e-9
    edges = (found.difference_within.low, found.difference_within.high or 0.0)
    assume(all(abs(edge) > 1e-9 for edge in edges))
    assert found.difference_within.holds(0.0) == found.lift_within.holds(0.0)


@given(counts, counts, rates, rates)
def test_the_two_arms_may_be_swapped(n1: int, n0: int, p1: float, p0: float) -> None:
    one, other = Moments.of_rate(round(n1 * p1), n1), Moments.of_rate(round(n0 * p0), n0)
    there, back = compare(one, other), compare(other, one)

    assume(isinstance(there, Lift) and isinstance(back, Lift))
    assert lift_of(there).difference == -lift_of(back).difference
    assert lift_of(there).difference_within.low == -(lift_of(back).difference_within.high or 0.0)


def test_while_control_may_be_as_good_as_nothing_no_lift_is_too_large() -> None:
    found = lift_of(compare(Moments.of_rate(300, 9_000), Moments.of_rate(4, 150)))

    assert found.lift_within.high is None
    assert found.lift_within.low < 0


@pytest.mark.parametrize(
    ("given_counts", "why"),
    [
        ((0, 0, 0, 0), "nothing was delivered in either"),
        ((0, 0, 900, 30), "nothing was delivered in treatment"),
        ((900, 30, 0, 0), "nothing was delivered in control"),
        ((900, 0, 100, 0), "fewer than 10 clicks"),
        ((9_000, 270, 100, 3), "fewer than 10 clicks"),
    ],
)
def test_what_cannot_be_said_yet_is_no_number(given_counts: tuple[int, int, int, int], why: str) -> None:
    result = of_rates(one_day(*given_counts))

    assert isinstance(result, NotEnough)
    assert result.why.startswith(why)
    assert not hasattr(result, "lift")


def test_how_many_sends_are_missing_is_told_where_it_can_be() -> None:
    few, none = of_rates(one_day(900, 27, 100, 3)), of_rates(one_day(900, 0, 100, 0))
    assert isinstance(few, NotEnough)
    assert isinstance(none, NotEnough)

    assert few.more == 2_334  # 10 / 3 times 1,000 sends, less what there is
    assert none.more is None


def test_a_lift_that_would_have_shown_by_now_asks_for_no_more_sends() -> None:
    result = of_rates(one_day(500_000, 15_000, 500_000, 15_000))

    assert isinstance(result, Undecided)
    assert (result.more, result.why) == (0, "a lift of 15% would most likely have shown by now")


def test_several_comparisons_at_once_each_have_a_wider_interval() -> None:
    alone, of_ten = (lift_of(of_rates(one_day(5_000, 300, 5_000, 200), alpha=alpha)) for alpha in (0.05, 0.005))

    assert of_ten.difference_within.low < alone.difference_within.low
    assert of_ten.difference == alone.difference


def test_people_who_come_back_and_click_every_time_are_worth_one_send_each() -> None:
    """100 people with ten sends each; 20 click every time."""
    design = design_effect(1_000, 200, 100 * 100, 20 * 100, 20 * 100)

    assert design == pytest.approx(10)
    assert design_effect(1_000, 200, 1_000, 200, 200) == pytest.approx(1)  # everybody once
    assert design_effect(0, 0, 0, 0, 0) == 1.0


def test_an_interval_without_an_upper_end_holds_everything_above() -> None:
    assert Interval(0.1, None).holds(1e9)
    assert not Interval(0.1, None).holds(0.0)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_a_plan_for_any_look_takes_longer_than_for_one_and_less_for_larger_lifts() -> None:
    found, larger = plan(0.03, 0.15, 0.1, 1_000), plan(0.03, 0.3, 0.1, 1_000)
    assert found is not None
    assert larger is not None

    assert found.sends_one_look < found.sends < 2 * found.sends_one_look
    assert found.days == math.ceil(found.sends / 1_000)
    assert larger.sends < found.sends / 3


def test_a_single_look_needs_what_the_textbook_says() -> None:
    found = plan(0.1, 0.2, 0.5, 1)
    assert found is not None

    by_hand = (1.959964 + 0.841621) ** 2 * (0.12 * 0.88 + 0.1 * 0.9) / 0.02**2 * 2
    assert found.sends_one_look == math.ceil(by_hand)


def test_the_planned_sends_do_find_the_lift() -> None:
    """At least as often as promised, by simulation; the bound is not far from the truth either."""
    rng, tests, found = random.Random(3), 300, 0
    n = sends_needed(0.1, 0.3, 0.5)
    assert n is not None
    looks = 40
    per_look = n // looks // 2
    spread1, spread0 = (math.sqrt(per_look * p * (1 - p)) for p in (0.13, 0.1))
    for _ in range(tests):
        clicks1 = clicks0 = 0.0
        for look in range(1, looks + 1):
            clicks1 += rng.gauss(per_look * 0.13, spread1)
            clicks0 += rng.gauss(per_look * 0.1, spread0)
            sends = per_look * look
            result = measure(one_day(sends, max(0, round(clicks1)), sends, max(0, round(clicks0))))
            if isinstance(result, Lift) and result.decided:
                found += 1
                break

    assert 0.74 < found / tests < 0.95  # 0.8 promised, looked at 40 times instead of always


@given(rates, floats(0.05, 0.9), floats(0.05, 0.95), integers(100, 10**7))
def test_more_sends_never_find_less(base: float, lift: float, control: float, sends: int) -> None:
    assume(base * (1 + lift) < 0.99)

    assert found_by(sends, base, lift, control) <= found_by(2 * sends, base, lift, control) + 0.01  # of 20 tangents


@pytest.mark.parametrize(
    ("base", "lift", "control", "per_day", "name"),
    [
        (0, 0.1, 0.1, 10, "base"),
        (0.5, 1.5, 0.1, 10, "lift"),
        (0.5, 0, 0.1, 10, "lift"),
        (0.5, 0.1, 1, 10, "control_share"),
        (0.5, 0.1, 0.1, 0, "per_day"),
        (0.5, 0.1, 0.1, math.nan, "per_day"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_name(
    base: float, lift: float, control: float, per_day: float, name: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        plan(base, lift, control, per_day)


def test_a_lift_too_small_for_anybody_has_no_plan() -> None:
    assert plan(0.001, 1e-6, 0.01, 1_000) is None


# --- the sample ratio ------------------------------------------------------------------------------------------------


def test_a_broken_split_is_found_and_a_sound_one_is_not() -> None:
    broken, sound = sample_ratio(1_200, 8_800, 0.1), sample_ratio(1_020, 8_980, 0.1)
    assert broken is not None
    assert sound is not None

    assert (broken.alarm, sound.alarm) == (True, False)
    assert broken.chi_square == pytest.approx(200**2 / (10_000 * 0.1 * 0.9))
    assert sound.p_once == pytest.approx(0.505, abs=0.001)
    assert sound.p_once < sound.p_always <= 1
    assert sample_ratio(0, 0, 0.1) is None


def test_looking_at_a_sound_split_all_the_time_raises_hardly_any_alarm() -> None:
    rng, tests, alarms = random.Random(5), 300, 0
    for _ in range(tests):
        controls = n = 0
        for _ in range(60):
            controls += round(rng.gauss(100, math.sqrt(90)))
            n += 1_000
            found = sample_ratio(controls, n - controls, 0.1)
            if found is not None and found.alarm:
                alarms += 1
                break

    assert alarms / tests <= 0.02


def test_draws_fit_their_probabilities_within_chance() -> None:
    assert draws_fit(60, 900)
    assert not draws_fit(400, 900)
    assert draws_fit(0.0, 0.0)
    assert not draws_fit(1.0, 0.0)


# --- amounts ---------------------------------------------------------------------------------------------------------


def bought(rng: random.Random, sends: int, rate: float, scale: float) -> list[float]:
    """What each order of a day came to, with a heavy tail that a cap of 200 cuts off."""
    return [min(200.0, scale * rng.paretovariate(1.2)) for _ in range(sends) if rng.random() < rate]


@pytest.mark.long
def test_looking_at_money_every_day_hardly_ever_finds_what_is_not_there() -> None:
    rng, tests, found = random.Random(5), 150, 0
    for _ in range(tests):
        sums = [[0, 0.0, 0.0, 0] for _ in range(2)]
        for _ in range(40):
            for arm in sums:
                amounts = bought(rng, 300, 0.03, 20)
                arm[:] = [
                    arm[0] + 300, arm[1] + sum(amounts), arm[2] + sum(a * a for a in amounts), arm[3] + len(amounts),
                ]  # fmt: skip
            orders = int(sums[0][3] + sums[1][3])
            typical = (sums[0][2] + sums[1][2]) / max(1, orders)
            one, other = (Moments.of_amounts(int(n), total, squares, typical) for n, total, squares, _ in sums)
            if isinstance(of_amounts(one, other, orders), Lift):
                found += 1
                break
    assert found <= 0.05 * tests


def test_a_difference_in_money_is_found_and_before_that_told_how_far_away_it_is() -> None:
    found = of_amounts(Moments(20_000, 3.0, 200.0), Moments(20_000, 2.0, 150.0), 1_800)
    early = of_amounts(Moments(900, 3.0, 200.0), Moments(900, 2.0, 150.0), 80, worth=0.5)
    few = of_amounts(Moments(900, 3.0, 200.0), Moments(100, 2.0, 150.0), 40)

    assert isinstance(found, Lift)
    assert found.lift == pytest.approx(0.5)
    assert isinstance(early, Undecided)
    assert early.more is not None
    assert 1_000 < early.more < 20_000
    assert isinstance(few, NotEnough)
    assert few.why == "fewer than 10 conversions are to be expected in the smaller group"


def test_people_who_buy_again_make_the_mean_less_sure_by_what_their_sums_say() -> None:
    """Half of 100 people buy for 10 at each of their 4 sends, the others never."""
    of = Moments(400, 5.0, 25.0)

    assert person_effect(of, 100 * 16, 50 * 4 * 40, 50 * 1600) == pytest.approx(4)
    assert person_effect(Moments(400, 0.0, 0.0), 1600, 0, 0) == 1
