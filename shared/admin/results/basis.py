"""What advice on shipping and archiving goes by: the reward that the template's ranker is paid by. Pure.

A variant that few click and buy for much is the worst by clicks and the best by revenue. Whoever has the ranker learn
from orders must not be told to archive what it prefers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.admin.results.earned import Earnings, conversion_design, revenue_design
from shared.inference import variants
from shared.inference.lift import Lift
from shared.inference.sequence import NotEnough
from shared.inference.variants import Draws, Estimate, Sums
from shared.schemas.policy import Reward

Rates = Mapping[UUID, Estimate | NotEnough]
"""Of each variant."""


@dataclass(frozen=True, slots=True)
class Basis:
    """Treatment against control, and each variant's rate with the draws that it is of, all in one reward."""

    reward: Reward
    lift: Lift | NotEnough
    rates: Rates
    draws: Sequence[Draws]
    design: float


def basis_of(clicks: Basis, earnings: Earnings | None) -> Basis:
    """Clicks, unless the ranker is paid by what is counted of orders. Where sums of money would mean nothing, there is
    nothing to go by: clicks are not what they stand for."""
    if earnings is None or earnings.known.policy.reward == "click":
        return clicks
    known = earnings.known
    if known.policy.reward == "conversion":
        rates = {copy_id: rate for copy_id, (_, rate) in earnings.rates.items()}
        return Basis("conversion", earnings.conversion, rates, known.draws, conversion_design(known))
    if isinstance(earnings.revenue, str):
        return Basis("revenue", NotEnough(earnings.revenue), {}, (), 1.0)
    design = revenue_design(known)
    return Basis("revenue", earnings.revenue, _rates(known.revenue_draws, design), known.revenue_draws, design)


def compared(basis: Basis, states: Mapping[UUID, str]) -> Rates:
    """Of variants with a rate those that serve now, by the decisions at which each of them could be drawn: a rate of a
    good month and one of a bad month say nothing of each other. What has no rate yet is not waited for: from the hour
    in which a variant was approved there are hardly any decisions."""
    known = (copy_id for copy_id, rate in basis.rates.items() if isinstance(rate, Estimate))
    serving = {copy_id for copy_id in known if states.get(copy_id) == "approved"}
    alike = variants.tally(one for one in basis.draws if serving <= one.possible)
    return {copy_id: variants.judged(alike.of.get(copy_id, Sums()), alike.pooled, basis.design) for copy_id in serving}


def _rates(draws: Sequence[Draws], design: float) -> Rates:
    tally = variants.tally(draws)
    return {copy_id: variants.judged(sums, tally.pooled, design) for copy_id, sums in tally.of.items()}
