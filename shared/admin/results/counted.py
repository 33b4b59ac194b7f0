"""From rows that were counted ahead to what operations say. Pure.

A lift is made of rows by day (`day`, `control`, `delivered`, `clicked`), counts of whatever rows there are.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from shared.admin.results.as_json import result_json
from shared.admin.results.days import COUNTS
from shared.admin.results.models import Arm, Day, LiftInterval, LiftSaid, Report, Segment
from shared.inference import lift
from shared.inference.lift import WORTH
from shared.inference.sequence import ALPHA, NotEnough
from shared.inference.strata import Day as DayOfArm
from shared.inference.strata import Strata

_counts_of: Final = itemgetter(*COUNTS)
_LATELY: Final = 14  # days
MOST_SEGMENTS: Final = 20  # more comparisons than that at once and none of them would ever be decided


def arm_of(rows: Iterable[Mapping[str, Any]], *, control: bool) -> Arm:
    """The sum of one arm's rows."""
    mine = [_counts_of(row) for row in rows if row["control"] is control]
    sums = map(sum, zip(*mine, strict=True)) if mine else [0] * len(COUNTS)
    counts: dict[str, Any] = dict(zip(COUNTS, sums, strict=True))
    return Arm.model_construct(**counts)


def strata_of(rows: Iterable[Mapping[str, Any]]) -> Strata:
    """Their clicks, day by day."""
    return Strata.of(_day_of_arm(row) for row in rows)


def _day_of_arm(row: Mapping[str, Any]) -> DayOfArm:
    return DayOfArm.of_events(row["day"], row["control"], row["delivered"], row["clicked"])


def lift_of(strata: Strata, design: float, alpha: float = ALPHA) -> LiftSaid:
    """The lift of clicks a delivered send, decided or not."""
    return said(result_json(lift.of_rates(strata, worth=WORTH, alpha=alpha, design=design)))


def interval_of(strata: Strata, design: float) -> LiftSaid:
    """The same without a word on how many more sends it would take, which is what costs time."""
    found = lift.measure(strata, ALPHA, design)
    if isinstance(found, lift.Lift) and not found.decided:
        return LiftSaid(outcome="not enough yet", why="the interval still holds no lift", so_far=_interval(found))
    return said(result_json(found))


def said(result: Mapping[str, Any]) -> LiftSaid:
    """The JSON of a lift as an operation says it."""
    if result["outcome"] != "not enough yet":
        return LiftSaid(outcome=result["outcome"], found=LiftInterval.model_validate(result))
    return LiftSaid.model_validate(result)


def days_of(rows: Sequence[Mapping[str, Any]], copy_ids: Sequence[UUID], design: float) -> list[Day]:
    """Each day there is; the lift is that of all of them so far, as somebody would have seen it then."""
    by_day: dict[date, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_day.setdefault(row["day"], []).append(row)
    found: list[Day] = []
    strata = Strata()
    for day, of_day in sorted(by_day.items()):
        treatment, control = arm_of(of_day, control=False), arm_of(of_day, control=True)
        strata.add(map(_day_of_arm, of_day))
        so_far = lift.measure(strata, ALPHA, design)
        sends = {row["copy_id"]: row["delivered"] for row in of_day if row["copy_id"] is not None}
        found.append(
            Day(
                day=day, treatment=treatment, control=control,
                lift_so_far=None if isinstance(so_far, NotEnough) else _interval(so_far),
                sends=[sends.get(copy_id, 0) for copy_id in copy_ids],
            )
        )  # fmt: skip
    return found


def _interval(found: lift.Lift) -> LiftInterval:
    return LiftInterval(
        treatment=found.treatment, control=found.control, difference=found.difference,
        difference_within=(found.difference_within.low, found.difference_within.high), lift=found.lift,
        lift_within=(found.lift_within.low, found.lift_within.high),
    )  # fmt: skip


def report_of(stored: Mapping[str, Any], as_of: Any) -> Report:
    """A stored report. What newer releases add has its default."""
    earned = stored["conversions"]
    if earned is not None:
        revenue = earned["revenue_lift"]
        shown = revenue is not None and revenue["outcome"] != "not shown"
        earned = {
            **earned, "lift": said(earned["lift"]), "revenue_lift": said(revenue) if shown else None,
            "no_revenue": None if shown else revenue["why"],
        }  # fmt: skip
    weeks = [{**week, "lift": said(week["lift"])} for week in stored["weeks"]]
    return Report.model_validate({**stored, "as_of": as_of, "conversions": earned, "weeks": weeks})


def largest_of(
    rows: Sequence[Mapping[str, Any]], everybody: Sequence[Mapping[str, Any]]
) -> tuple[int, dict[str | None, list[Mapping[str, Any]]]]:
    """How many values there are, and the rows of the largest, these first. `rows` have a value, arm and variant each;
    who has no value is what is missing from `everybody`."""
    by_value: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_value.setdefault(row["value"], []).append(row)
    if rest := _missing(rows, everybody, "control", "copy_id", counts=COUNTS):
        by_value[None] = rest
    size = {value: sum(row["delivered"] for row in of_value) for value, of_value in by_value.items()}
    largest = sorted(by_value, key=lambda value: (-size[value], value or ""))[:MOST_SEGMENTS]
    return len(by_value), {value: by_value[value] for value in largest}


def segments_of(
    largest: Mapping[str | None, Sequence[Mapping[str, Any]]],
    days: Sequence[Mapping[str, Any]],
    names: Mapping[UUID, str],
    design: float,
) -> list[Segment]:
    """Each of these values. `days` have a day and arm each, and the `value`, null for all that are not among the
    largest; or they are of `everybody`, whatever the value."""
    of_all = [row for row in days if row["everybody"]]
    of_values = [row for row in days if not row["everybody"]]
    by_value: dict[str | None, list[Mapping[str, Any]]] = {None: _missing(of_values, of_all, "day", "control")}
    for row in of_values:
        if row["value"] is not None:
            by_value.setdefault(row["value"], []).append(row)
    found = []
    for value, rows in largest.items():
        mostly, share = _mostly(rows, names)
        found.append(
            Segment(
                value=value, treatment=arm_of(rows, control=False), control=arm_of(rows, control=True),
                mostly=mostly, mostly_share=share,
                lift=lift_of(strata_of(by_value.get(value, ())), design, ALPHA / len(largest)),
            )
        )  # fmt: skip
    return found


def _missing(
    rows: Iterable[Mapping[str, Any]],
    everybody: Iterable[Mapping[str, Any]],
    *keys: str,
    counts: Sequence[str] = ("delivered", "clicked"),
) -> list[Mapping[str, Any]]:
    """What `everybody` has more than all rows, by the same keys."""
    left: dict[tuple[Any, ...], dict[str, Any]] = {}
    for sign, some in ((1, everybody), (-1, rows)):
        for row in some:
            key = tuple(row[name] for name in keys)
            rest = left.setdefault(key, {**dict(zip(keys, key, strict=True)), **dict.fromkeys(counts, 0)})
            for name in counts:
                rest[name] += sign * row[name]
    return [rest for rest in left.values() if any(rest[name] for name in counts)]


def _mostly(rows: Iterable[Mapping[str, Any]], names: Mapping[UUID, str]) -> tuple[str | None, float | None]:
    sends: dict[UUID, int] = {}
    for row in rows:
        if row["copy_id"] is not None:
            sends[row["copy_id"]] = sends.get(row["copy_id"], 0) + row["delivered"]
    total = sum(sends.values())
    if not total:
        return None, None
    copy_id = max(sends, key=lambda one: (sends[one], str(one)))
    return names.get(copy_id, str(copy_id)), sends[copy_id] / total


def pace(days: Sequence[Day], until: date) -> tuple[float, float]:
    """Delivered sends a day and control's share of them, of the last two weeks by the calendar, or of those since the
    first decision: it goes on like this, whatever the share was before shipping. A day without decisions is one of
    them, but for `until` itself, which may just have begun."""
    if not days:
        return 0.0, 0.0
    last = max(days[-1].day, until - timedelta(days=1))
    first = max(days[0].day, last - timedelta(days=_LATELY - 1))
    lately = [day for day in days if day.day >= first]
    controls = math.fsum(day.control.delivered for day in lately)
    sends = controls + math.fsum(day.treatment.delivered for day in lately)
    return (sends / ((last - first).days + 1), controls / sends) if sends else (0.0, 0.0)


def worth(days: Sequence[Day], control_share: float) -> float:
    """So many sends with this share of control tell as much as these did, compared day by day."""
    both = ((day.treatment.delivered, day.control.delivered) for day in days)
    told = math.fsum(treated * controls / (treated + controls) for treated, controls in both if treated + controls)
    return told / (control_share * (1 - control_share))
