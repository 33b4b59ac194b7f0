"""How long a win lasts: the lift week by week since shipping, against the control group that was kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from shared.inference.lift import WORTH, Lift, Undecided, of_rates
from shared.inference.sequence import NotEnough
from shared.inference.strata import Day, Strata

DAYS = 7


@dataclass(frozen=True, slots=True)
class Week:
    """`week` 0 begins on the day of shipping; each is judged by itself."""

    week: int
    begins: date
    sends: int
    result: Lift | NotEnough


def by_week(
    days: Iterable[Day], shipped: date, worth: float = WORTH, design: float = 1.0, first: date = date.min
) -> list[Week]:
    """Every week from shipping to the last day that has sends; of them those that begin on `first` or later, the first
    day of which all is known: a week that is known in part would be another one."""
    weeks: dict[int, list[Day]] = {}
    for one in days:
        if one.day >= shipped:
            weeks.setdefault((one.day - shipped).days // DAYS, []).append(one)
    begin = max(0, -((shipped - first).days // DAYS))
    return [
        Week(
            week,
            date.fromordinal(shipped.toordinal() + DAYS * week),
            sum(one.sends for one in of_week),
            of_rates(Strata.of(of_week), worth=worth, design=design),
        )
        for week in range(begin, max(weeks, default=-1) + 1)
        for of_week in (weeks.get(week, []),)
    ]


def worn_off(weeks: Iterable[Week], lift_at_shipping: float) -> bool:
    """Whether the newest week that says anything leaves out half of the lift that was shipped."""
    known = [_interval(one.result) for one in weeks]
    high = next((found.lift_within.high for found in reversed(known) if found is not None), None)
    return high is not None and high < lift_at_shipping / 2


def _interval(result: Lift | NotEnough) -> Lift | None:
    return result.so_far if isinstance(result, Undecided) else result if isinstance(result, Lift) else None
