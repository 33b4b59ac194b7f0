"""From what was earned to what may be said of it: conversions and revenue of treatment against control. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from shared.admin.results_earned_store import Arm, Earned
from shared.inference import lift, variants
from shared.inference.sequence import Moments, NotEnough
from shared.inference.variants import Estimate


@dataclass(frozen=True, slots=True)
class Earnings:
    """`revenue` is a text where it cannot be shown: what to do for it. `rates`: conversions a send by variant."""

    known: Earned
    conversion: lift.Lift | NotEnough
    revenue: lift.Lift | NotEnough | str
    rates: Mapping[UUID, tuple[int, Estimate | NotEnough]]


def judge_earned(known: Earned, worth: float) -> Earnings:
    """Everything at once."""
    treatment, control = known.treatment, known.control
    design = conversion_design(known)
    tally = variants.tally(known.draws)
    return Earnings(
        known,
        lift.of_rates(
            treatment.sends, treatment.converted, control.sends, control.converted, worth=worth, design=design,
            of="conversions",
        ),
        _revenue(known, worth),
        {
            copy_id: (int(sums.clicks), variants.judged(sums, tally.pooled, design, "conversions"))
            for copy_id, sums in tally.of.items()
        },
    )  # fmt: skip


def conversion_design(known: Earned) -> float:
    """The larger design effect of both arms (`lift.design_effect`), for conversions."""
    return max(
        lift.design_effect(arm.sends, arm.converted, arm.sends_squared, arm.sends_converted, arm.converted_squared)
        for arm in (known.treatment, known.control)
    )


def revenue_design(known: Earned) -> float:
    """The same for revenue."""
    events = known.treatment.converted + known.control.converted
    typical = (known.treatment.squares + known.control.squares) / max(1, events)
    return max(_effect(arm, _moments(arm, typical)) for arm in (known.treatment, known.control))


def why_no_revenue(known: Earned) -> str | None:
    """What to do before sums of money mean something."""
    if known.cap is None:
        return "say `policy.revenue_cap` in the template's file: the most that one send may count as"
    if known.defined.currency is None and len(known.currencies) > 1:
        return f"orders are in {', '.join(known.currencies)}: say `conversions.currency` in the template's file"
    return None


def _revenue(known: Earned, worth: float) -> lift.Lift | NotEnough | str:
    if why := why_no_revenue(known):
        return why
    events = known.treatment.converted + known.control.converted
    typical = (known.treatment.squares + known.control.squares) / max(1, events)
    design = revenue_design(known)
    one, other = (
        replace(moments, variance=moments.variance * design)
        for moments in (_moments(known.treatment, typical), _moments(known.control, typical))
    )
    return lift.of_amounts(one, other, events, worth=worth)


def _moments(arm: Arm, typical_square: float) -> Moments:
    """With one more typical order and one more send without in the variance: with none seen it would be zero."""
    if not arm.sends:
        return Moments(0, 0.0, 0.0)
    mean = arm.revenue / arm.sends
    variance = (arm.squares + typical_square) / (arm.sends + 2) - mean * mean
    return Moments(arm.sends, mean, max(0.0, variance))


def _effect(arm: Arm, moments: Moments) -> float:
    return lift.person_effect(moments, arm.sends_squared, arm.sends_revenue, arm.revenue_squared)
