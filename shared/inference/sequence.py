"""Intervals that hold at every look, however often somebody looks and whenever they stop.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas ("Time-uniform central limit
theory and asymptotic confidence sequences", Annals of Statistics 2024, Theorem 2.2). Robbins' mixture: for a Brownian
motion B, exp(cB - c²t/2) is a martingale; mixed over c ~ N(0, 1/r) it is sqrt(r / (t + r)) exp(B² / 2(t + r)), and by
Ville's inequality the probability that it ever reaches 1/alpha is at most alpha. So, at all times at once,

    |B(t)| < sqrt((t + r) log((t + r) / (r alpha²)))

and a sum whose variance is t stays below the same line, up to an error that vanishes as t grows.
"""

import math
from dataclasses import dataclass

ALPHA = 0.05
"""How often an interval may fail to hold the truth at any of its looks."""

TUNED_FOR = 30_000
"""Sends at which the interval is as narrow as it can be. Fixed, since choosing it from the data would be a peek.
Being off costs little: against the best for that moment 1.24 times the width at a tenth of it and 1.07 at ten times."""

EXPECTED_EVENTS = 10
"""Fewer events than this in a group, by the pooled rate, and the normal approximation is not to be trusted."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`; `high` is None where nothing bounds it yet."""

    low: float
    high: float | None

    def holds(self, value: float) -> bool:
        return self.low <= value and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class NotEnough:
    """Nothing to say yet, and what is missing: about `more` sends, where that can be told."""

    why: str
    more: int | None = None


@dataclass(frozen=True, slots=True)
class Moments:
    """`n` rewards: their mean and the variance of one of them. Where days have weights, `n` is as many of equal weight
    (strata.py), a fraction."""

    n: float
    mean: float
    variance: float

    @property
    def error(self) -> float:
        """The variance of the mean."""
        return self.variance / self.n

    @classmethod
    def of_rate(cls, events: float, n: float) -> "Moments":
        """`events` among `n` > 0. One event and one miss more in the variance: with none seen it would be zero."""
        padded = (events + 1) / (n + 2)
        return cls(n, events / n, padded * (1 - padded))

    @classmethod
    def of_amounts(cls, n: float, total: float, squares: float, typical_square: float) -> "Moments":
        """What `n` sends came to, by the sum of their orders and that of the orders' squares. One more typical order
        and one more send without in the variance: with none seen it would be zero."""
        if not n:
            return cls(0, 0.0, 0.0)
        mean = total / n
        return cls(n, mean, max(0.0, (squares + typical_square) / (n + 2) - mean * mean))


def mixing(tuned_for: float, alpha: float = ALPHA) -> float:
    """The `r` above that makes the line lowest, relative to sqrt(t), at t = `tuned_for`."""
    bits = -2 * math.log(alpha)
    return tuned_for / (bits + math.log(bits) + 1)


def widening(t: float, tuned_for: float = TUNED_FOR, alpha: float = ALPHA) -> float:
    """How many standard errors an interval reaches to each side after `t` > 0 sends (a single look: 1.96)."""
    r = mixing(tuned_for, alpha)
    return math.sqrt((t + r) / t * math.log((t + r) / (r * alpha * alpha)))
