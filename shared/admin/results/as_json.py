"""The results for machines, as docs/results.md documents them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from shared.admin.results.earned import Earnings
from shared.admin.results.earned_store import Arm
from shared.admin.results.judging import Results, Variant
from shared.admin.results.store import Fact
from shared.inference.lift import Lift, Undecided
from shared.inference.ratio import SampleRatio
from shared.inference.sequence import NotEnough
from shared.inference.variants import Estimate


def results_json(found: Results, org_slug: str) -> dict[str, Any]:
    """As documented in docs/results.md."""
    return {
        "org": org_slug, "template": found.template_id, "state": found.state, "since": found.since,
        "until": found.until, "shipped_at": found.shipped_at,
        "funnel": {"treatment": _counts(found.treatment), "control": _counts(found.control)},
        "lift": result_json(found.lift), "uncompared": found.uncompared,
        "sample_ratio": {"assigned": _ratio_json(found.split), "delivered": _ratio_json(found.delivery)},
        "variants": [_variant_json(one) for one in found.variants], "unlogged": found.unlogged,
        "themes": [
            {"theme": one.name, "variants": one.variants, "assigned": one.assigned, "delivered": one.delivered,
             "clicks": one.clicks, "share": one.share, "click_rate": estimate_json(one.rate)} for one in found.themes
        ],
        "external_control": found.external, "by": found.attr,
        "segments": [
            {"value": one.value, "treatment": one.treatment, "control": one.control,
             "mostly": one.mostly and {"name": one.mostly[0], "share": one.mostly[1]},
             "lift": result_json(one.result)} for one in found.segments
        ],
        "weeks": [
            {"week": one.week, "begins": one.begins, "sends": one.sends, "lift": result_json(one.result)}
            for one in found.weeks
        ],
        "worn_off": found.worn_off, "advice": [
            {"kind": one.kind, "names": list(one.names), "why": one.why, "reward": one.reward} for one in found.advice
        ],
    }  # fmt: skip


def result_json(result: Lift | NotEnough) -> dict[str, Any]:
    """A lift with its outcome as a word; what is not known yet has no number at its place."""
    if isinstance(result, NotEnough):
        so_far = result.so_far if isinstance(result, Undecided) else None
        return {
            "outcome": "not enough yet", "why": result.why, "more_sends": result.more,
            "so_far": _lift_json(so_far) if so_far else None,
        }  # fmt: skip
    return {"outcome": "above control" if result.difference > 0 else "below control", **_lift_json(result)}


def _lift_json(found: Lift) -> dict[str, Any]:
    return {
        "treatment": found.treatment, "control": found.control,
        "difference": found.difference,
        "difference_within": [found.difference_within.low, found.difference_within.high],
        "lift": found.lift, "lift_within": [found.lift_within.low, found.lift_within.high],
    }  # fmt: skip


def _counts(fact: Fact) -> Mapping[str, int]:
    counts = fact._asdict().items()
    return {name: count for name, count in counts if isinstance(count, int) and not isinstance(count, bool)}


def _ratio_json(ratio: SampleRatio | None) -> dict[str, Any] | None:
    if ratio is None:
        return None
    return {
        "planned": ratio.planned, "found": ratio.found, "chi_square": ratio.chi_square, "p_once": ratio.p_once,
        "p_always": ratio.p_always, "alarm": ratio.alarm,
    }  # fmt: skip


def estimate_json(rate: Estimate | NotEnough) -> dict[str, Any]:
    """A rate with its outcome as a word."""
    if isinstance(rate, NotEnough):
        return {"outcome": "not enough yet", "why": rate.why, "more_sends": rate.more}
    return {
        "outcome": "estimated", "rate": rate.rate, "within": [rate.within.low, rate.within.high], "ess": rate.ess,
    }  # fmt: skip


def _variant_json(one: Variant) -> dict[str, Any]:
    return {
        "copy_id": str(one.copy_id), "name": one.name, "sends": one.sends, "clicks": one.clicks, "share": one.share,
        "click_rate": estimate_json(one.rate), "best": one.best, "drawn_as_logged": one.fits,
        "paused": one.paused,
        "guardrail": {
            "verdict": one.guard.verdict, "against": one.guard.against, "sends": one.guard.sends,
            "events": one.guard.events, "rate": one.guard.rate, "other_rate": one.guard.other_rate, "p": one.guard.p,
        },
    }  # fmt: skip


def earnings_json(found: Earnings, names: Mapping[UUID, str]) -> dict[str, Any]:
    """As documented in docs/results.md."""
    known = found.known
    revenue = {"outcome": "not shown", "why": found.revenue} if isinstance(found.revenue, str) else None
    return {
        "metrics": known.defined.metrics, "window_h": known.defined.window_h, "counted_anew": known.stale,
        "revenue_cap": known.cap, "currency": known.currency or None,
        "treatment": _arm_json(known.treatment, shown=revenue is None),
        "control": _arm_json(known.control, shown=revenue is None),
        "lift": result_json(found.conversion),
        "revenue_lift": revenue or (None if isinstance(found.revenue, str) else result_json(found.revenue)),
        "variants": [
            {"copy_id": str(one), "name": names.get(one, str(one)), "conversions": rate[0],
             "conversion_rate": estimate_json(rate[1])} for one, rate in by_conversions(found)
        ],
    }  # fmt: skip


def _arm_json(arm: Arm, *, shown: bool) -> dict[str, Any]:
    return {"delivered": arm.sends, "conversions": arm.converted, "revenue": arm.revenue if shown else None}


def by_conversions(found: Earnings) -> list[tuple[UUID, tuple[int, Estimate | NotEnough]]]:
    """Variants, that with most conversions first."""
    return sorted(found.rates.items(), key=lambda one: (-one[1][0], str(one[0])))
