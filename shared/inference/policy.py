"""What another policy would have earned, from the probabilities that the one in use drew with.

Three estimates of the same thing, each from the weights w = target / logged probability of what was sent:

    IPW    mean of w Y                                        without bias, and the noisiest
    SNIPW  sum of w Y / sum of w                              the one to read
    DR     mean of sum_v target(v) q(v) + w (Y - q(sent))     q: a model of the rates; right if either q or p is

q is learned on one half of the sends and used on the other, and so is `best`: chosen and valued on the same sends, the
luckiest variant would look better than it is.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.inference.sequence import EXPECTED_EVENTS, Interval, NotEnough, widening
from shared.inference.variants import Draws, Tally, enough, tally

LEAST_ESS = 300
"""Effective sends below which nothing is said."""

MOST_LEFT_OUT = 0.5
"""Share of sends at which the logged policy could not have done what the target does, above which nothing is said."""

_NO_SENDS = NotEnough("no delivered send with logged probabilities")
_SHRINKAGE = 50  # sends of the variant's overall rate that a cell's own sends are mixed with

Shares = Mapping[UUID, float]
Target = Callable[[Draws], Shares]
"""The probabilities that the policy in question gives at this decision; they sum to 1."""


@dataclass(frozen=True, slots=True)
class Value:
    """Clicks a send under the target; `within` belongs to SNIPW and holds at every look. `logged`: what was earned.

    All of it over `sends`; at `left_out` more, none of the target's variants could have been sent.
    """

    ipw: float
    snipw: float
    dr: float
    within: Interval
    ess: float
    sends: int
    left_out: int
    logged: float


def uniform(draws: Draws) -> Shares:
    """Every eligible variant alike."""
    return dict.fromkeys(draws.eligible, 1 / len(draws.eligible))


def fixed(shares: Shares) -> Target:
    """The same shares for everyone."""
    return lambda _: shares


def best(draws: Sequence[Draws], of: str = "clicks") -> tuple[Target, Shares] | NotEnough:
    """Always the variant with the highest weighted rate, chosen for each half on the other; and who was chosen.

    Only a variant with `enough` sends is chosen: of many that are hardly sent, one has clicks by luck, and each of them
    counts as hundreds. Such a one would be chosen now and then, and there would be next to nothing to value it by.
    """
    if not draws:
        return _NO_SENDS
    chosen: dict[int, UUID] = {}
    for fold in (0, 1):
        found = tally(one for one in draws if one.fold != fold)
        rates = {copy_id: sums.rate for copy_id, sums in found.of.items() if enough(sums, found.pooled)}
        if not rates:
            return _none_to_choose(found, of)
        chosen[fold] = max(rates, key=lambda one: (rates[one], str(one)))
    shares: dict[UUID, float] = {}
    for copy_id in chosen.values():
        shares[copy_id] = shares.get(copy_id, 0.0) + 0.5
    return (lambda one: {chosen[one.fold]: 1.0}), shares


def _none_to_choose(half: Tally, of: str) -> NotEnough:
    """`more`: sends of all variants, in both halves, until the one that is nearest to it has enough."""
    expected = max((sums.ess for sums in half.of.values()), default=0.0) * half.pooled
    sends = sum(sums.sends for sums in half.of.values())
    return NotEnough(
        f"in a half of the sends, fewer than {EXPECTED_EVENTS} {of} are to be expected of each variant's",
        math.ceil(2 * sends * (EXPECTED_EVENTS / expected - 1)) if expected else None,
    )


def possible(draws: Draws, shares: Shares) -> Shares | None:
    """The target as far as it could be followed at this decision.

    A variant with a logged probability of zero could not be drawn, for instance because the person had it last: the
    others take its share, as they do when the generator draws. None when nothing of the target is left, or when a
    variant of it was not eligible, since nobody knows what the target would have done without it.
    """
    logged = dict(zip(draws.eligible, draws.probabilities, strict=True))
    if any(share > 0 and copy_id not in logged for copy_id, share in shares.items()):
        return None
    kept = {copy_id: share for copy_id, share in shares.items() if share > 0 and logged[copy_id] > 0}
    total = math.fsum(kept.values())
    return {copy_id: share / total for copy_id, share in kept.items()} if total else None


def value(draws: Sequence[Draws], target: Target, design: float = 1.0) -> Value | NotEnough:
    """All three estimates, or why there is none. `design`: the variance is larger by this, because people come back."""
    everything = sum(one.sends for one in draws)
    if not everything:
        return _NO_SENDS
    followed = [(one, shares) for one in draws if (shares := possible(one, target(one))) is not None]
    sends = sum(one.sends for one, _ in followed)
    if everything - sends > MOST_LEFT_OUT * everything:
        return NotEnough(
            f"at {1 - sends / everything:.1%} of the sends none of this policy's variants could have been sent: they "
            "were not eligible, or had no share"
        )
    models = {fold: _model(one for one in draws if one.fold != fold) for fold in (0, 1)}
    rewards = doubly = clicks = 0.0
    weighed = [(_weight(one, shares), one.sends, one.clicks) for one, shares in followed]
    for (one, shares), (weight, _, _) in zip(followed, weighed, strict=True):
        rewards += weight * one.clicks
        clicks += one.clicks
        rate = models[one.fold]
        direct = sum(share * rate(copy_id, one.cell) for copy_id, share in shares.items())
        doubly += one.sends * direct + weight * (one.clicks - one.sends * rate(one.copy_id, one.cell))
    weights = math.fsum(weight * n for weight, n, _ in weighed)
    squares = math.fsum(weight * weight * n for weight, n, _ in weighed)
    ess = weights * weights / squares if squares else 0.0
    if ess < LEAST_ESS:
        more = math.ceil(sends * (LEAST_ESS / ess - 1)) if ess else None
        return NotEnough(
            f"only {ess:,.0f} effective sends of {sends:,} speak of this policy; {LEAST_ESS} are needed", more
        )
    within = _within(weighed, weights, widening(sends) * math.sqrt(design))
    return Value(
        rewards / sends, rewards / weights, doubly / sends, within, ess, sends, everything - sends, clicks / sends
    )


def _weight(one: Draws, shares: Shares) -> float:
    """Target over logged; a send whose own logged probability is not positive tells nothing."""
    own = dict(zip(one.eligible, one.probabilities, strict=True)).get(one.copy_id, 0.0)
    return shares.get(one.copy_id, 0.0) / own if own > 0 else 0.0


def _within(weighed: Sequence[tuple[float, int, float]], weights: float, reach: float) -> Interval:
    """Around SNIPW, `reach` standard errors to each side. Fractions of a reward are taken for as many whole ones, which
    vary more."""
    rewards = math.fsum(w * clicks for w, _, clicks in weighed)
    squares = math.fsum(w * w * n for w, n, _ in weighed)
    snipw, ess = rewards / weights, weights**2 / squares
    seen = math.fsum(w * w * (clicks * (1 - snipw) ** 2 + (n - clicks) * snipw**2) for w, n, clicks in weighed)
    # Few clicks with large weights: if they happen to be missing, what is seen spreads too little. So two clicks and
    # two misses more, among as many sends as speak of the target: among all of the log they would be next to nothing.
    # With one, at 300 to 1,200 of them and a rate of 1 %, 6 % of the intervals missed it at one of 30 looks; with two,
    # 3 %.
    padded = (ess * snipw + 2) / (ess + 4)
    half = reach * math.sqrt(max(seen, padded * (1 - padded) * squares)) / weights
    return Interval(max(0.0, snipw - half), min(1.0, snipw + half))


def _model(draws: Iterable[Draws]) -> Callable[[UUID, str], float]:
    """Rates by variant and cell, each cell leaning on its variant, each variant on all."""
    variants: dict[UUID, list[float]] = {}
    cells: dict[tuple[UUID, str], list[float]] = {}
    for one in draws:
        for counts in (
            variants.setdefault(one.copy_id, [0.0, 0.0]),
            cells.setdefault((one.copy_id, one.cell), [0.0, 0.0]),
        ):
            counts[0] += one.sends
            counts[1] += one.clicks
    sends = sum(counts[0] for counts in variants.values())
    overall = sum(counts[1] for counts in variants.values()) / sends if sends else 0.0

    def lean(counts: Sequence[float], on: float) -> float:
        return (counts[1] + _SHRINKAGE * on) / (counts[0] + _SHRINKAGE)

    def rate(copy_id: UUID, cell: str) -> float:
        of_variant = lean(variants.get(copy_id, (0.0, 0.0)), overall)
        return lean(cells.get((copy_id, cell), (0.0, 0.0)), of_variant)

    return rate
