"""Each variant's rate under a ranker that keeps changing the shares, from the probabilities it drew with.

Why not the plain rate: a ranker sends less of what was unlucky early, so bad luck stays in the figure and good luck is
averaged away; and it sends a variant to the people who like it. Weighted with one over its probability, each send of a
variant stands for everyone it might have been sent to.

Why not the usual interval: with weights w = 1 / p, the sum of w (Y - m) over the variant's sends is a martingale at
the true rate m, whatever the ranker learned from (people arrive alike). Each send at which the variant could have been
drawn adds about m (1 - m) / p to its variance, known from the logged probabilities of all sends, also of those that
drew another variant. So |sum| < line, with the line of `sequence.py`, holds at all looks, and solved for m it is a
score interval around SNIPW = sum(w Y) / sum(w). Taking the variance from the variant's own clicks instead makes
the interval short just when the variant was unlucky. Adaptive weights (Hadad et al. 2021, sqrt(p) p⁻¹) were left out:
they lengthen the weeks in which a variant had a large share, so that a good week of everyone flatters whoever led then.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from shared.inference.sequence import ALPHA, EXPECTED_EVENTS, Interval, NotEnough, widening

_TUNED_FOR_INVERSE = 100_000  # the sum of 1 / p after about 15,000 sends of six variants alike
_GRID = 400
_REACH = 6.0  # standard errors; beyond lies nothing that counts


class Draws(NamedTuple):
    """Delivered sends that were drawn alike: same cell, same probabilities, same variant; and how many were clicked, or
    what they were worth together, at most 1 each.

    `fold` is 0 or 1, by a hash of the generation: what is chosen on one half can be valued on the other.
    """

    fold: int
    cell: str
    eligible: tuple[UUID, ...]
    probabilities: tuple[float, ...]
    copy_id: UUID
    sends: int
    clicks: float

    @property
    def possible(self) -> set[UUID]:
        """The variants that could be drawn."""
        return {one for one, chance in zip(self.eligible, self.probabilities, strict=True) if chance > 0}


@dataclass(slots=True)
class Sums:
    """What the sends say of one variant; it adds up over sends in any order."""

    sends: int = 0
    clicks: float = 0
    exposed: int = 0  # sends at which it could have been drawn
    inverse: float = 0.0  # sum of 1 / p over those
    expected: float = 0.0  # sum of p over those
    spread: float = 0.0  # sum of p (1 - p) over those
    weight: float = 0.0  # sum of 1 / p over its own sends
    weighted_clicks: float = 0.0
    squares: float = 0.0  # sum of 1 / p² over its own sends
    clicked_squares: float = 0.0

    def expose(self, probability: float, sends: int) -> None:
        """Sends that might have been this variant's."""
        self.exposed += sends
        self.inverse += sends / probability
        self.expected += sends * probability
        self.spread += sends * probability * (1 - probability)

    def draw(self, probability: float, sends: int, clicks: float) -> None:
        """Those among them that were."""
        self.sends += sends
        self.clicks += clicks
        self.weight += sends / probability
        self.weighted_clicks += clicks / probability
        self.squares += sends / probability**2
        self.clicked_squares += clicks / probability**2

    @property
    def ess(self) -> float:
        """Effective sample size (Kish): as many sends of equal weight would say as much."""
        return self.weight**2 / self.squares if self.squares else 0.0

    @property
    def rate(self) -> float:
        """SNIPW; without bias for large numbers. Needs a send."""
        return self.weighted_clicks / self.weight


@dataclass(slots=True)
class Tally:
    """All variants of a template; `lost`: sends whose logged probability of their own variant is not positive."""

    of: dict[UUID, Sums] = field(default_factory=dict)
    lost: int = 0

    @property
    def pooled(self) -> float:
        """The plain rate of all sends."""
        sends = sum(one.sends for one in self.of.values())
        return sum(one.clicks for one in self.of.values()) / sends if sends else 0.0


def tally(draws: Iterable[Draws]) -> Tally:
    """Add up. Sends that could not have been a variant's are not counted for it: its rate is that of the others."""
    found = Tally()
    for one in draws:
        chances = dict(zip(one.eligible, one.probabilities, strict=True))
        if chances.get(one.copy_id, 0.0) <= 0:
            found.lost += one.sends
            continue
        for copy_id, probability in chances.items():
            if probability > 0:
                found.of.setdefault(copy_id, Sums()).expose(probability, one.sends)
        found.of[one.copy_id].draw(chances[one.copy_id], one.sends, one.clicks)
    return found


@dataclass(frozen=True, slots=True)
class Estimate:
    """A variant's rate. `error` is the standard error at this moment; `within` holds at every look."""

    rate: float
    error: float
    within: Interval
    ess: float


def estimate(sums: Sums, alpha: float = ALPHA, design: float = 1.0) -> Estimate | None:
    """None without a send. `design`: by how much the variance is larger because people come back."""
    if not sums.weight:
        return None
    rate = sums.rate
    padded = (sums.clicks + 1) / (sums.sends + 2) if not 0 < rate < 1 else rate
    variance = padded * (1 - padded)
    # Where low probabilities and many clicks go together, the variant's own sends know better than the model.
    own = (sums.clicked_squares * (1 - 2 * rate) + sums.squares * rate * rate) / variance
    inverse = max(sums.inverse, own) * design
    reach = widening(sums.inverse, _TUNED_FOR_INVERSE, alpha) ** 2 * inverse
    a, b = sums.weight**2 + reach, 2 * sums.weighted_clicks * sums.weight + reach
    root = math.sqrt(max(0.0, b * b - 4 * a * sums.weighted_clicks**2))
    within = Interval(max(0.0, (b - root) / (2 * a)), min(1.0, (b + root) / (2 * a)))
    return Estimate(rate, math.sqrt(variance * inverse) / sums.weight, within, sums.ess)


def enough(sums: Sums, pooled: float) -> bool:
    """Whether so many sends stand behind its rate that the rate may be told. `pooled`: the rate of all variants."""
    return sums.ess * pooled >= EXPECTED_EVENTS


def judged(sums: Sums, pooled: float, design: float = 1.0, of: str = "clicks") -> Estimate | NotEnough:
    """The estimate, where enough sends stand behind it. `pooled`: the rate of all variants."""
    found = estimate(sums, design=design)
    if found is not None and enough(sums, pooled):
        return found
    if not pooled:
        return NotEnough(f"no variant has a {of.removesuffix('s')} yet")
    have, per_send = (found.ess, found.ess / sums.sends) if found else (0.0, 1.0)
    missing = math.ceil((EXPECTED_EVENTS / pooled - have) / per_send)
    return NotEnough(f"fewer than {EXPECTED_EVENTS} {of} are to be expected of its sends", max(1, missing))


def chances_of_being_best(estimates: Mapping[UUID, Estimate]) -> dict[UUID, float]:
    """How likely each is the best of them, if each rate is normal around its estimate.

    A look at this moment, for a feeling of who leads. Unlike the intervals it may be fooled by looking often.
    """
    if not estimates:
        return {}
    errors = {one: max(found.error, 1e-12) for one, found in estimates.items()}
    low = min(found.rate - _REACH * errors[one] for one, found in estimates.items())
    high = max(found.rate + _REACH * errors[one] for one, found in estimates.items())
    shares = dict.fromkeys(estimates, 0.0)
    for one, found in estimates.items():
        # on its own grid, so that a narrow one is not stepped over
        others = [(other.rate, errors[name]) for name, other in estimates.items() if name != one]
        start, end = max(low, found.rate - _REACH * errors[one]), min(high, found.rate + _REACH * errors[one])
        step = (end - start) / _GRID
        for at in range(_GRID):
            x = start + (at + 0.5) * step
            density = math.exp(-0.5 * ((x - found.rate) / errors[one]) ** 2)
            shares[one] += density * math.prod(_below(x, *other) for other in others)
        shares[one] *= step / errors[one]
    total = math.fsum(shares.values())
    return {one: share / total for one, share in shares.items()}


def _below(x: float, mean: float, error: float) -> float:
    return 0.5 * math.erfc((mean - x) / (error * math.sqrt(2)))
