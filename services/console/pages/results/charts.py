"""Results as charts and as rows of a CSV: each chart and its CSV are made of the same values. Pure."""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

from shared.admin.results.models import Arm, LiftInterval, LiftSaid, Results, Segments
from shared.admin.results.policies import Shares
from shared.zones import day_in, zone_of

Rows = list[tuple[object, ...]]
_COUNTS: Final = tuple(Arm.model_fields)
_FEW: Final = 12  # lines that can be told apart; one variant keeps its colour as long as there are no more


def _noon(day: date, zone: str) -> float:
    """For an axis: in the middle of the org's day, however long it is."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=zone_of(zone)).timestamp()


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 3)


def lift(found: Results) -> tuple[dict[str, Any], str]:
    """The lift of all days so far, with its interval; and what the title adds. The first days, whose interval says next
    to nothing, would flatten the others: it is drawn as far as the newest interval and its width to either side."""
    known = [(day.day, day.lift_so_far) for day in found.days if day.lift_so_far is not None]
    said = [one for _, one in known]
    within = _drawn(said[-1]) if said else None
    return {
        "kind": "lines", "time": True, "days": True, "unit": "%",
        "x": [_noon(day, found.time_zone) for day, _ in known],
        "within": [_percent(end) for end in within] if within else None,
        "series": [{
            "label": "Lift in clicks", "y": [_percent(one.lift) for one in said],
            "low": [_percent(one.lift_within[0]) for one in said],
            "high": [_percent(one.lift_within[1]) for one in said],
        }],
    }, _cut(said, within)  # fmt: skip


def _drawn(newest: LiftInterval) -> tuple[float, float] | None:
    low, high = newest.lift_within
    return None if high is None else (max(-1.0, low - (high - low)), high + (high - low))


def _cut(said: Iterable[LiftInterval], within: tuple[float, float] | None) -> str:
    if within is None:
        return ""
    ends = [end for one in said for end in one.lift_within if end is not None]
    if within[0] <= min(ends) and max(ends) <= within[1]:
        return ""
    return f" (drawn from {within[0] * 100:+.0f} % to {within[1] * 100:+.0f} %)"


def rates(found: Results) -> dict[str, Any]:
    """Each day's click rate by itself, of both arms."""
    return {
        "kind": "lines", "time": True, "days": True, "unit": "%",
        "x": [_noon(day.day, found.time_zone) for day in found.days],
        "series": [
            {"label": label, "y": [_percent(_rate(getattr(day, arm))) for day in found.days]}
            for label, arm in (("Treatment", "treatment"), ("Control", "control"))
        ],
    }  # fmt: skip


def weeks(found: Results) -> dict[str, Any] | None:
    """The lift of each week since the template was shipped, by itself; None: no week says anything yet."""
    said = [(one, one.lift.found or one.lift.so_far) for one in (found.report.weeks if found.report else ())]
    known = [(week, lift) for week, lift in said if lift is not None]
    if not known:
        return None
    return {
        "kind": "lines", "time": True, "days": True, "unit": "%", "x_label": "Week of",
        "x": [_noon(week.begins, found.time_zone) for week, _ in known],
        "series": [{
            "label": "Lift in clicks of the week", "y": [_percent(lift.lift) for _, lift in known],
            "low": [_percent(lift.lift_within[0]) for _, lift in known],
            "high": [_percent(lift.lift_within[1]) for _, lift in known],
        }],
    }  # fmt: skip


def shares(found: Shares) -> dict[str, Any]:
    """What share of people without a cell of their own each variant was drawn for; the largest last shares first, since
    of many variants only those are drawn."""
    zone = zone_of(found.time_zone)
    newest = found.days[-1].shares if found.days else []
    order = (
        sorted(range(len(newest)), key=lambda at: -(newest[at] or 0.0)) if len(newest) > _FEW else range(len(newest))
    )
    return {
        "kind": "lines", "time": True, "days": True, "unit": "%",
        "x": [_noon(day_in(zone, day.at), found.time_zone) for day in found.days],
        "series": [
            {"label": one.name or str(one.copy_id), "y": [_percent(day.shares[at]) for day in found.days]}
            for at in order
            for one in (found.variants[at],)
        ],
    }  # fmt: skip


def _in(name: str, found: Results | Shares) -> str:
    """A column of days or moments, and whose they are."""
    return f"{name} ({found.time_zone})"


def _there(at: datetime, found: Results | Shares) -> str:
    return at.astimezone(zone_of(found.time_zone)).isoformat(timespec="seconds")


def _rate(arm: Arm) -> float | None:
    return arm.clicked / arm.delivered if arm.delivered else None


def _lift_csv(found: Results) -> Rows:
    rows: Rows = [(_in("day", found), "lift", "from", "to", "treatment_click_rate", "control_click_rate")]
    for day in found.days:
        if (so_far := day.lift_so_far) is not None:
            rows.append((day.day, so_far.lift, *so_far.lift_within, so_far.treatment, so_far.control))
    return rows


def _days_csv(found: Results) -> Rows:
    names = [*(f"treatment_{name}" for name in _COUNTS), *(f"control_{name}" for name in _COUNTS)]
    rows: Rows = [(_in("day", found), *names, *(f"delivered of {one.name}" for one in found.variants))]
    for day in found.days:
        counts = (getattr(arm, name) for arm in (day.treatment, day.control) for name in _COUNTS)
        rows.append((day.day, *counts, *day.sends))
    return rows


def _variants_csv(found: Results) -> Rows:
    rows: Rows = [
        ("variant", "copy_id", "delivered", "clicks", "share", "click_rate", "from", "to", "best", "guardrail",
         _in("as_of", found))
    ]  # fmt: skip
    for one in found.report.variants if found.report else ():
        within = one.click_rate.within or (None, None)
        rows.append(
            (one.name, one.copy_id, one.sends, one.clicks, one.share, one.click_rate.rate, *within, one.best,
             one.guardrail.verdict, found.report and _there(found.report.as_of, found))
        )  # fmt: skip
    return rows


def _themes_csv(found: Results) -> Rows:
    rows: Rows = [
        ("theme", "variants", "assigned", "delivered", "clicks", "share", "outcome", "click_rate", "from", "to",
         _in("as_of", found))
    ]  # fmt: skip
    for one in found.report.themes if found.report else ():
        rate = one.click_rate
        rows.append(
            (one.theme or "(none)", one.variants, one.assigned, one.delivered, one.clicks, one.share, rate.outcome,
             rate.rate, *(rate.within or (None, None)), found.report and _there(found.report.as_of, found))
        )  # fmt: skip
    return rows


def _weeks_csv(found: Results) -> Rows:
    rows: Rows = [("week", _in("begins", found), "sends", "outcome", "lift", "from", "to")]
    for one in found.report.weeks if found.report else ():
        rows.append((one.week + 1, one.begins, one.sends, *_lift_cells(one.lift)))
    return rows


def _conversions_csv(found: Results) -> Rows:
    """A row an arm, then a row a variant, whose rate is weighted."""
    rows: Rows = [("of", "name", "copy_id", "delivered", "conversions", "revenue", "currency", "rate", "from", "to")]
    earned = found.report.conversions if found.report else None
    if earned is None:
        return rows
    for name, arm in (("treatment", earned.treatment), ("control", earned.control)):
        rate = arm.conversions / arm.delivered if arm.delivered else None
        rows.append(
            ("arm", name, None, arm.delivered, arm.conversions, arm.revenue, earned.currency, rate, None, None)
        )  # fmt: skip
    for one in earned.variants:
        within = one.conversion_rate.within or (None, None)
        rows.append(
            ("variant", one.name, one.copy_id, None, one.conversions, None, None, one.conversion_rate.rate, *within)
        )  # fmt: skip
    return rows


def _guardrail_csv(found: Results) -> Rows:
    rows: Rows = [(_in("at", found), "variant", "event", "actor", "comment")]
    rows += [(_there(one.at, found), one.name, one.event, one.actor, one.comment) for one in found.guard_events]
    return rows


TABLES: Final[Mapping[str, Callable[[Results], Rows]]] = {
    "lift": _lift_csv, "days": _days_csv, "variants": _variants_csv, "themes": _themes_csv, "weeks": _weeks_csv,
    "conversions": _conversions_csv, "guardrail": _guardrail_csv,
}  # fmt: skip
"""What results alone say, by the name of the file."""


def shares_csv(found: Shares) -> Rows:
    """As the chart of shares."""
    names = (one.name or str(one.copy_id) for one in found.variants)
    return [(_in("at", found), *names), *((_there(day.at, found), *day.shares) for day in found.days)]


def segments_csv(found: Segments) -> Rows:
    """As the table of segments."""
    names = [*(f"treatment_{name}" for name in _COUNTS), *(f"control_{name}" for name in _COUNTS)]
    rows: Rows = [(found.attr, "outcome", "lift", "from", "to", "mostly", "mostly_share", *names)]
    for one in found.segments:
        counts = (getattr(arm, name) for arm in (one.treatment, one.control) for name in _COUNTS)
        rows.append((one.value or "(none)", *_lift_cells(one.lift), one.mostly, one.mostly_share, *counts))
    return rows


def _lift_cells(said: LiftSaid) -> tuple[object, ...]:
    known = said.found or said.so_far
    return (said.outcome, known.lift, *known.lift_within) if known else (said.outcome, None, None, None)
