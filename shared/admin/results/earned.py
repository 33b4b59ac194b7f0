"""From what was earned to what may be said of it: conversions and revenue of treatment against control. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from shared.admin.results.earned_store import Earned
from shared.inference import lift, variants
from shared.inference.sequence import Moments, NotEnough
from shared.inference.strata import Strata
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
    design = conversion_design(known)
    tally = variants.tally(known.draws)
    return Earnings(
        known,
        lift.of_rates(_conversions(known), worth=worth, design=design, of="conversions"),
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
    arms = (known.treatment, known.control)
    return max(
        lift.person_effect(moments, arm.sends_squared, arm.sends_revenue, arm.revenue_squared)
        for arm, moments in zip(arms, _moments(known), strict=True)
    )


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
    conversions = _conversions(known)
    if nothing := lift.nothing_in_both(conversions):
        return nothing
    design = revenue_design(known)
    strata = Strata.of([*known.treatment.revenue_of_days, *known.control.revenue_of_days])
    treatment, control = (
        replace(moments, variance=moments.variance * design) for moments in strata.of_amounts(_typical_square(known))
    )
    return lift.of_amounts(treatment, control, lift.events_of(*conversions.of_rates()), worth=worth)


def _conversions(known: Earned) -> Strata:
    return Strata.of([*known.treatment.conversions_of_days, *known.control.conversions_of_days])


def _moments(known: Earned) -> list[Moments]:
    """Of treatment and control, all days together; a typical order is one of both."""
    typical = _typical_square(known)
    arms = (known.treatment, known.control)
    return [Moments.of_amounts(arm.sends, arm.revenue, arm.squares, typical) for arm in arms]


def _typical_square(known: Earned) -> float:
    arms = (known.treatment, known.control)
    return sum(arm.squares for arm in arms) / max(1, sum(arm.converted for arm in arms))
