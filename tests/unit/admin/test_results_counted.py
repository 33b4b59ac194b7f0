"""What results say from days that were counted ahead."""

from datetime import date, timedelta

import pytest

from shared.admin.results.counted import pace, worth
from shared.admin.results.models import Arm, Day


def on(number: int) -> date:
    return date(2026, 10, 1) + timedelta(days=number)


def day(number: int, treated: int, controls: int) -> Day:
    return Day(
        day=on(number), treatment=Arm(delivered=treated), control=Arm(delivered=controls), lift_so_far=None, sends=[]
    )


HALVES = [day(number, 500, 500) for number in range(30)]


def test_it_goes_on_as_it_did_for_two_weeks_whatever_was_before() -> None:
    after_shipping = [day(30 + number, 950, 50) for number in range(14)]

    assert pace(HALVES, on(29)) == (1000, 0.5)
    assert pace([*HALVES, *after_shipping], on(43)) == (1000, 0.05)
    assert pace([], on(0)) == (0, 0)


def test_a_day_without_decisions_is_a_day_of_the_two_weeks_too() -> None:
    weekly = [day(number, 2500, 2500) for number in range(0, 30, 7)]

    assert pace(weekly, on(28)) == pytest.approx((5000 / 7, 0.5))
    assert pace(weekly, on(34)) == pytest.approx((5000 / 7, 0.5))
    assert pace(weekly, on(60)) == (0, 0)


def test_a_young_template_has_the_pace_of_its_days_and_today_counts_once_it_has_decisions() -> None:
    young = HALVES[:4]

    assert pace(young, on(3)) == (1000, 0.5)
    assert pace(young, on(4)) == (1000, 0.5)
    assert pace(young, on(8)) == (500, 0.5)


def test_sends_with_equal_arms_are_worth_more_than_with_few_in_control() -> None:
    assert worth(HALVES, 0.5) == pytest.approx(30_000)
    assert worth(HALVES, 0.05) == pytest.approx(30_000 * 0.25 / (0.05 * 0.95))
    assert worth([*HALVES, day(30, 1000, 0)], 0.5) == pytest.approx(30_000)  # a day without control compares nothing
