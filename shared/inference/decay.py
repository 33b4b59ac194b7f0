"""How long a win lasts: the lift week by week since shipping, against the control group that was kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from shared.inference.lift import WORTH, Lift, Undecided, of_rates
from shared.inference.sequence import NotEnough

DAYS = 7


class Day(NamedTuple):
    """Delivered sends and clicked ones of one arm on one day."""

    day: date
    control: bool
    sends: int
    clicks: int


@dataclass(frozen=True, slots=True)
class Week:
    """`week` 0 begins on the day of shipping; each is judged by itself."""

    week: int
    begins: date
    sends: int
    result: Lift | NotEnough


def by_week(days: Iterable[Day], shipped: date, worth: float = WORTH, design: float = 1.0) -> list[Week]:
    """Every week from shipping to the last day that has sends."""
    counts: dict[int, list[int]] = {}
    for one in days:
        if one.day >= shipped:
            week = counts.setdefault((one.day - shipped).days // DAYS, [0, 0, 0, 0])
            week[2 * one.control] += one.sends
            week[2 * one.control + 1] += one.clicks
    return [
        Week(
            week,
            date.fromordinal(shipped.toordinal() + DAYS * week),
            found[0] + found[2],
            of_rates(*found, worth=worth, design=design),
        )
        for week in range(max(counts, default=-1) + 1)
        for found in (counts.get(week, [0, 0, 0, 0]),)
    ]


def worn_off(weeks: Iterable[Week], lift_at_shipping: float) -> bool:
    """Whether the newest week that says anything leaves out half of the lift that was shipped."""
    known = [_interval(one.result) for one in weeks]
    high = next((found.lift_within.high for found in reversed(known) if found is not None), None)
    return high is not None and high < lift_at_shipping / 2


def _interval(result: Lift | NotEnough) -> Lift | None:
    return result.so_far if isinstance(result, Undecided) else result if isinstance(result, Lift) else None
