"""Rates of variants under changing shares, the guardrail, and how long a win lasts."""

import random
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, lists, tuples

from shared.inference.decay import by_week, worn_off
from shared.inference.guardrail import Stratum, guard, judge, judge_variants, to_pause
from shared.inference.lift import Lift
from shared.inference.sequence import Interval, NotEnough
from shared.inference.strata import Day
from shared.inference.variants import Estimate, Sums, chances_of_being_best, estimate, judged, tally
from tests.unit.inference.given import A, B, C, day_of, draws


def an_estimate(rate: float, error: float) -> Estimate:
    return Estimate(rate, error, Interval(rate - 3 * error, rate + 3 * error), 1_000)


# --- variants --------------------------------------------------------------------------------------------------------


@given(lists(tuples(floats(0.02, 0.98), integers(0, 500), integers(0, 500)), min_size=1, max_size=8))
def test_the_estimate_is_a_rate_inside_its_interval(rows: list[tuple[float, int, int]]) -> None:
    sums = Sums()
    for probability, sends, missed in rows:
        sums.expose(probability, sends + missed)
        sums.draw(probability, sends, sends // 3)

    found = estimate(sums)

    if not sums.sends:
        assert found is None
        return
    assert found is not None
    assert 0 <= found.within.low <= found.rate <= (found.within.high or 0.0) <= 1
    assert found.ess <= sums.sends + 1e-6


def test_with_equal_probabilities_it_is_the_plain_rate() -> None:
    found = tally([draws(A, 400, 40), draws(B, 600, 30)])

    assert found.of[A].rate == pytest.approx(0.1)
    assert found.of[A].ess == pytest.approx(400)
    assert found.pooled == pytest.approx(0.07)
    assert (found.of[A].exposed, found.of[A].expected, found.of[A].spread) == (1000, 500, 250)


def test_each_send_stands_for_those_it_might_have_been_sent_to() -> None:
    found = tally(
        [
            draws(A, 90, 18, (0.9, 0.1)),
            draws(B, 10, 1, (0.9, 0.1)),
            draws(A, 10, 0, (0.1, 0.9)),
            draws(B, 90, 9, (0.1, 0.9)),
        ]
    )

    assert found.of[A].rate == pytest.approx((18 / 0.9) / 200)


def test_a_send_at_which_the_variant_could_not_be_drawn_does_not_count_for_it() -> None:
    found = tally([draws(A, 100, 10), draws(B, 100, 10), draws(A, 500, 50, (1.0, 0.0))])

    assert found.of[B].exposed == 200
    assert found.of[A].exposed == 700


def test_sends_whose_own_probability_is_not_positive_are_counted_as_lost() -> None:
    found = tally([draws(A, 7, 1, (0.0, 1.0)), draws(C, 5, 1), draws(B, 100, 10)])

    assert found.lost == 12
    assert set(found.of) == {A, B}


def test_a_variant_without_luck_keeps_an_interval_that_reaches_up() -> None:
    """Its own clicks would say: zero, for sure."""
    sums = Sums()
    sums.expose(0.02, 5_000)
    sums.draw(0.02, 100, 0)

    found = estimate(sums)

    assert found is not None
    assert found.within.low == 0
    assert (found.within.high or 0.0) > 0.05


def test_naive_rates_are_biased_under_a_ranker_and_the_weighted_ones_hold_the_truth_at_all_looks() -> None:
    """Two variants alike; each day's leader gets nine in ten. 150 runs of 20 days."""
    rng, runs, naive, weighted, held = random.Random(2), 150, 0.0, 0.0, 0
    for _ in range(runs):
        sums, plain, good = [Sums(), Sums()], [[0, 0], [0, 0]], True
        share = 0.5
        for _ in range(20):
            sent = sum(rng.random() < share for _ in range(100))
            for at, (n, p) in enumerate(((sent, share), (100 - sent, 1 - share))):
                clicked = sum(rng.random() < 0.1 for _ in range(n))
                sums[at].expose(p, 100)
                sums[at].draw(p, n, clicked)
                plain[at][0], plain[at][1] = plain[at][0] + n, plain[at][1] + clicked
            found = [estimate(one) for one in sums]
            good &= all(one is None or one.within.holds(0.1) for one in found)
            rate = [clicks / max(1, n) for n, clicks in plain]
            share = 0.9 if rate[0] > rate[1] else 0.1
        held += good
        naive += sum(clicks / n for n, clicks in plain) / 2 / runs
        weighted += sum(one.rate for one in sums) / 2 / runs

    assert naive < 0.097
    assert abs(weighted - 0.1) < 0.003
    assert held / runs >= 0.95


def test_a_rate_is_told_only_with_enough_effective_sends() -> None:
    sums = tally([draws(A, 50, 5), draws(B, 5_000, 100)]).of[A]

    few, enough, none = judged(sums, 0.02), judged(sums, 0.3), judged(Sums(), 0.0)

    assert isinstance(few, NotEnough)
    assert few.more == 450
    assert isinstance(enough, Estimate)
    assert isinstance(none, NotEnough)
    assert none.more is None


def test_chances_of_being_best_sum_to_one_and_follow_the_estimates() -> None:
    alike = chances_of_being_best({one: an_estimate(0.03, 0.002) for one in (A, B, C)})
    clear = chances_of_being_best({A: an_estimate(0.03, 0.001), B: an_estimate(0.05, 0.001)})
    one_error_apart = chances_of_being_best({A: an_estimate(0.03, 0.003), B: an_estimate(0.034, 0.0026)})

    assert alike == {one: pytest.approx(1 / 3, abs=1e-6) for one in (A, B, C)}
    assert clear[B] > 0.999
    assert one_error_apart[B] == pytest.approx(0.8433, abs=0.001)  # Phi(0.004 / sqrt(0.003² + 0.0026²))
    assert chances_of_being_best({A: an_estimate(0.03, 0.002)}) == {A: pytest.approx(1.0)}
    assert chances_of_being_best({}) == {}


# --- the guardrail ---------------------------------------------------------------------------------------------------


def test_a_clear_excess_says_pause_with_its_numbers() -> None:
    found = guard([Stratum(500, 8, 500, 1)] * 6, "control")

    assert (found.verdict, found.events, found.sends) == ("pause", 48, 3_000)
    assert found.rate == pytest.approx(0.016)
    assert found.other_rate == pytest.approx(0.002)
    assert found.p < 0.001


def test_a_few_events_are_never_called_out_and_without_any_it_is_too_early() -> None:
    assert guard([Stratum(100, 4, 100_000, 0)], "control").verdict == "not enough yet"
    assert guard([], "control").verdict == "not enough yet"
    assert guard([Stratum(5_000, 10, 5_000, 9)], "control").verdict == "fine"


def test_a_bad_day_of_everyone_and_a_cell_that_leaves_more_often_blame_nobody() -> None:
    """The variant got most of its sends where everybody unsubscribes ten times as often."""
    strata = [Stratum(1_000, 50, 100, 5), Stratum(100, 0, 1_000, 5)] * 4

    assert guard(strata, "control").verdict == "fine"
    assert guard([Stratum(4_400, 200, 4_400, 40)], "control").verdict == "pause"


def test_where_there_is_no_control_the_other_variants_are_the_measure() -> None:
    found = judge([], [Stratum(1_000, 20, 4_000, 8)] * 2)

    assert (found.verdict, found.against) == ("pause", "the other variants")


def test_where_control_says_nothing_the_other_variants_may_say_that_all_is_fine() -> None:
    found = judge([Stratum(1_000, 0, 100, 0)], [Stratum(1_000, 1, 4_000, 9)])

    assert (found.verdict, found.against, found.p) == ("fine", "the other variants", 1.0)


def test_the_surest_of_the_bad_ones_go_and_one_always_stays() -> None:
    counts = {
        (date(2026, 11, day), "plan=pro"): {None: (500, 2), A: (500, 40), B: (500, 60), C: (500, 2)} for day in (1, 2)
    }
    guards = judge_variants(counts, [A, B, C])

    assert [guards[one].verdict for one in (A, B, C)] == ["pause", "pause", "fine"]
    assert to_pause(guards, [A, B, C]) == [B, A]
    assert to_pause(guards, [A, B]) == [B]
    assert to_pause(guards, [A]) == []
    assert guards[B].said == "120 unsubscribes and complaints in 1,000 sends (12.00%), against 0.40% of control"


def test_looking_after_every_day_hardly_ever_calls_out_who_is_no_worse() -> None:
    rng, tests, called = random.Random(8), 200, 0
    for _ in range(tests):
        strata = [
            Stratum(
                300, sum(rng.random() < 0.01 for _ in range(300)), 300, sum(rng.random() < 0.01 for _ in range(300))
            )
            for _ in range(20)
        ]
        called += any(guard(strata[:days], "control").verdict == "pause" for days in range(1, 21))

    assert called / tests <= 0.02


# --- after shipping --------------------------------------------------------------------------------------------------


def week_of(week: int, treated: int, controls: int, sends: int = 6_000) -> list[Day]:
    day = date(2026, 11, 4) + timedelta(days=7 * week + 3)
    return day_of(day, sends, treated, sends, controls)


def test_weeks_are_counted_from_shipping_and_days_before_it_are_left_out() -> None:
    days = [Day.of_events(date(2026, 11, 3), False, 999, 99), *week_of(0, 600, 300), *week_of(2, 400, 300)]

    weeks = by_week(days, date(2026, 11, 4))

    assert [(one.week, one.begins, one.sends) for one in weeks] == [
        (0, date(2026, 11, 4), 12_000), (1, date(2026, 11, 11), 0), (2, date(2026, 11, 18), 12_000),
    ]  # fmt: skip
    assert isinstance(weeks[0].result, Lift)
    assert isinstance(weeks[1].result, NotEnough)
    assert by_week([], date(2026, 11, 4)) == []


def test_weeks_begin_with_the_first_of_which_every_day_is_known() -> None:
    shipped = date(2026, 11, 4)
    days = [*week_of(0, 600, 300), *week_of(1, 600, 300), *week_of(2, 400, 300)]

    def first_week(known_from: date) -> int:
        return by_week(days, shipped, first=known_from)[0].week

    assert [first_week(shipped + timedelta(days=at)) for at in (-40, 0, 1, 7, 8, 14)] == [0, 0, 1, 1, 2, 2]
    assert by_week(days, shipped, first=shipped + timedelta(days=30)) == []


def test_a_win_has_worn_off_when_the_newest_week_leaves_out_half_of_it() -> None:
    shipped = date(2026, 11, 4)
    lasting = by_week([*week_of(0, 600, 300), *week_of(1, 590, 300)], shipped)
    gone = by_week([*week_of(0, 600, 300), *week_of(1, 300, 300)], shipped)
    unknown = by_week([*week_of(0, 1, 1, 50)], shipped)

    assert not worn_off(lasting, 1.0)
    assert worn_off(gone, 1.0)
    assert not worn_off(unknown, 1.0)
