"""Sample ratios: when the split, or what is delivered of it, is not what it should be."""

from datetime import date, timedelta

import pytest

from shared.admin.results.ratios import ratios_of
from shared.admin.results.store import Firsts


def day(number: int, treated: tuple[int, int], controls: tuple[int, int]) -> list[Firsts]:
    """People assigned and delivered to, of both arms; what was sent was delivered."""
    on = date(2026, 10, 1) + timedelta(days=number)
    return [
        Firsts(on, control, people, delivered, delivered)
        for control, (people, delivered) in ((False, treated), (True, controls))
    ]  # fmt: skip


def days(*of_days: list[Firsts]) -> list[Firsts]:
    return [one for of_day in of_days for one in of_day]


HALVES = days(*(day(number, (500, 500), (500, 500)) for number in range(30)))


def test_those_assigned_last_who_are_not_delivered_to_yet_raise_no_alarm_after_shipping() -> None:
    shipped = day(30, (950, 0), (50, 0))

    split, delivery = ratios_of([*HALVES, *shipped], None, external=False)

    assert split is None
    assert delivery is not None
    assert (delivery.planned, delivery.found, delivery.alarm) == (0.5, 0.5, False)


def test_each_day_counts_by_whom_it_was_delivered_to() -> None:
    _, delivery = ratios_of(days(day(0, (500, 500), (500, 500)), day(1, (900, 450), (100, 50))), None, external=False)

    assert delivery is not None
    assert delivery.planned == pytest.approx((1000 * 0.5 + 500 * 0.1) / 1500)
    assert delivery.found == pytest.approx(550 / 1500)


def test_a_branch_that_filters_people_raises_the_alarm() -> None:
    _, delivery = ratios_of(day(0, (2000, 2000), (2000, 1500)), None, external=False)

    assert delivery is not None
    assert (delivery.planned, delivery.alarm) == (0.5, True)


def test_the_split_is_that_of_all_days_together() -> None:
    split, _ = ratios_of(days(day(0, (60, 0), (40, 0)), day(1, (80, 9), (20, 0))), 0.3, external=False)

    assert split is not None
    assert (split.planned, split.found) == (0.3, 0.3)


def test_what_was_sent_stands_for_who_was_assigned_where_the_control_branch_never_calls_us() -> None:
    on = date(2026, 10, 1)
    firsts = [Firsts(on, False, 100, 90, 80), Firsts(on, True, 60, 60, 50)]

    split, delivery = ratios_of(firsts, 0.5, external=True)

    assert split is not None
    assert delivery is not None
    assert split.found == pytest.approx(60 / 150)
    assert delivery.planned == pytest.approx(60 / 150)
    assert delivery.found == pytest.approx(50 / 130)


@pytest.mark.parametrize(
    "firsts", [[], day(0, (100, 100), (0, 0)), day(0, (0, 0), (100, 100)), day(0, (100, 0), (100, 0))]
)
def test_without_two_arms_or_anybody_delivered_to_nothing_is_checked(firsts: list[Firsts]) -> None:
    assert ratios_of(firsts, None, external=False) == (None, None)
