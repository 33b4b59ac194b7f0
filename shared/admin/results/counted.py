"""From rows that were counted ahead to what operations say. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from shared.admin.results.as_json import result_json
from shared.admin.results.days import COUNTS
from shared.admin.results.models import Arm, Day, LiftInterval, LiftSaid, Report, Segment
from shared.inference import lift
from shared.inference.lift import WORTH
from shared.inference.sequence import ALPHA, NotEnough

_counts_of: Final = itemgetter(*COUNTS)
MOST_SEGMENTS: Final = 20  # more comparisons than that at once and none of them would ever be decided


def arm_of(rows: Iterable[Mapping[str, Any]], *, control: bool) -> Arm:
    """The sum of one arm's rows."""
    mine = [_counts_of(row) for row in rows if row["control"] is control]
    sums = map(sum, zip(*mine, strict=True)) if mine else [0] * len(COUNTS)
    counts: dict[str, Any] = dict(zip(COUNTS, sums, strict=True))
    return Arm.model_construct(**counts)


def lift_of(treatment: Arm, control: Arm, design: float, alpha: float = ALPHA) -> LiftSaid:
    """The lift of clicks a delivered send, decided or not."""
    counts = (treatment.delivered, treatment.clicked, control.delivered, control.clicked)
    return said(result_json(lift.of_rates(*counts, worth=WORTH, alpha=alpha, design=design)))


def interval_of(treatment: Arm, control: Arm, design: float) -> LiftSaid:
    """The same without a word on how many more sends it would take, which is what costs time."""
    counts = (treatment.delivered, treatment.clicked, control.delivered, control.clicked)
    found = lift.measure(*counts, ALPHA, design)
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
    treated = treated_clicks = controls = control_clicks = 0
    for day, of_day in sorted(by_day.items()):
        treatment, control = arm_of(of_day, control=False), arm_of(of_day, control=True)
        treated, treated_clicks = treated + treatment.delivered, treated_clicks + treatment.clicked
        controls, control_clicks = controls + control.delivered, control_clicks + control.clicked
        so_far = lift.measure(treated, treated_clicks, controls, control_clicks, ALPHA, design)
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


def segments_of(
    rows: Sequence[Mapping[str, Any]], everybody: Sequence[Mapping[str, Any]], names: Mapping[UUID, str], design: float
) -> tuple[int, list[Segment]]:
    """How many values there are, and the largest. `rows` have a value, arm and variant each; who has no value is what
    is missing from `everybody`."""
    by_value: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_value.setdefault(row["value"], []).append(row)
    if rest := _without_value(rows, everybody):
        by_value[None] = rest
    arms = {
        value: (arm_of(of_value, control=False), arm_of(of_value, control=True)) for value, of_value in by_value.items()
    }
    largest = sorted(arms, key=lambda value: (-sum(arm.delivered for arm in arms[value]), value or ""))[:MOST_SEGMENTS]
    found = []
    for value in largest:
        treatment, control = arms[value]
        mostly, share = _mostly(by_value[value], names)
        found.append(
            Segment(
                value=value, treatment=treatment, control=control, mostly=mostly, mostly_share=share,
                lift=lift_of(treatment, control, design, ALPHA / len(largest)),
            )
        )  # fmt: skip
    return len(arms), found


def _without_value(
    rows: Iterable[Mapping[str, Any]], everybody: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    left: dict[tuple[bool, UUID | None], dict[str, Any]] = {}
    for sign, some in ((1, everybody), (-1, rows)):
        for row in some:
            arm = left.setdefault(
                (row["control"], row["copy_id"]),
                {"control": row["control"], "copy_id": row["copy_id"], **dict.fromkeys(COUNTS, 0)},
            )
            for name in COUNTS:
                arm[name] += sign * row[name]
    return [arm for arm in left.values() if any(arm[name] for name in COUNTS)]


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


def per_day(days: Sequence[Day]) -> float:
    """Delivered sends a day, of the last two weeks that had any."""
    newest = [day.treatment.delivered + day.control.delivered for day in days[-14:]]
    return math.fsum(newest) / len(newest) if newest else 0.0
