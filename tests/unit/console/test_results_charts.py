"""Charts of results, from what little of them each looks at."""

from datetime import date, timedelta
from typing import Any

import pytest

from services.console.pages.results import charts as results_charts
from shared.admin.results.models import Day, LiftInterval, LiftSaid, Report, Results, Week


def part_of(model: Any, **values: object) -> Any:
    """A model that has no more than what is looked at."""
    return model.model_construct(**values)


@pytest.mark.parametrize(
    ("ends", "within", "said"),
    [
        ([(-1.0, None), (-0.6, 50.0), (0.1, 0.3)], [-10.0, 50.0], "(drawn from -10 % to +50 %)"),
        ([(-0.2, 0.4), (-0.1, 0.3)], [-50.0, 70.0], ""),
        ([(-1.0, None), (-0.5, 4.0)], [-100.0, 850.0], ""),
        ([(-1.0, None), (-0.9, None)], None, ""),
        ([], None, ""),
    ],
)
def test_first_days_that_say_nothing_do_not_flatten_the_lift_of_the_others(
    ends: list[tuple[float, float | None]], within: list[float] | None, said: str
) -> None:
    days = [
        part_of(
            Day,
            day=date(2026, 7, 1) + timedelta(days=at),
            lift_so_far=part_of(LiftInterval, lift=0.2, lift_within=both),
        )
        for at, both in enumerate(ends)
    ]

    chart, note = results_charts.lift(part_of(Results, days=days, time_zone="UTC"))

    assert len(chart["x"]) == len(ends)
    assert chart["within"] == (pytest.approx(within) if within else None)
    assert note.strip() == said


def test_a_week_that_says_nothing_is_in_no_chart() -> None:
    said = LiftInterval(
        treatment=0.1, control=0.08, difference=0.02, difference_within=(0.0, 0.04), lift=0.25,
        lift_within=(0.0, None),
    )  # fmt: skip
    loud = part_of(
        Week, week=0, begins=date(2026, 11, 2), sends=10, lift=LiftSaid(outcome="not enough yet", so_far=said)
    )
    mute = part_of(Week, week=1, begins=date(2026, 11, 9), sends=0, lift=LiftSaid(outcome="not enough yet"))

    both = results_charts.weeks(part_of(Results, time_zone="UTC", report=part_of(Report, weeks=[loud, mute])))
    none = results_charts.weeks(part_of(Results, time_zone="UTC", report=part_of(Report, weeks=[mute])))

    assert both is not None
    assert (both["series"][0]["y"], both["series"][0]["high"], none) == ([25.0], [None], None)
