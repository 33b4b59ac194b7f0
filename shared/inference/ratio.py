"""Is the split what was planned? If not, nothing measured with it can be believed."""

import math
from dataclasses import dataclass

from shared.inference.sequence import widening

ALARM_BELOW = 0.01
"""An alarm that is false at most once in a hundred tests, however often each is looked at."""

_CONCENTRATION = 1_000.0
"""The mixture expects a wrong share to be off by about sqrt(c (1 - c) / 1000), for 10 % one point: where broken splits
are found soonest. It does not change how often the alarm is false."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """`p_always` holds at every look, `p_once` (chi-square, one degree of freedom) only for a single one."""

    planned: float
    found: float
    chi_square: float
    p_once: float
    p_always: float

    @property
    def alarm(self) -> bool:
        return self.p_always < ALARM_BELOW


def sample_ratio(controls: int, treated: int, planned: float) -> SampleRatio | None:
    """Control's share among the assigned against the planned one, in (0, 1); None without anybody assigned.

    The likelihood of the counts under a beta mixture over shares, divided by that under the planned share, is a
    martingale when the plan holds; by Ville's inequality one over it is a p-value at all looks at once (Lindon and
    Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022).
    """
    n = controls + treated
    if not n:
        return None
    a, b = _CONCENTRATION * planned, _CONCENTRATION * (1 - planned)
    log_ratio = (
        _log_beta(a + controls, b + treated)
        - _log_beta(a, b)
        - controls * math.log(planned)
        - treated * math.log1p(-planned)
    )
    chi_square = (controls - n * planned) ** 2 / (n * planned * (1 - planned))
    return SampleRatio(
        planned, controls / n, chi_square, math.erfc(math.sqrt(chi_square / 2)), math.exp(min(0.0, -log_ratio))
    )


def draws_fit(excess: float, variance: float) -> bool:
    """Whether a variant was drawn as often as its logged probabilities say.

    `excess`: draws minus the sum of the probabilities. `variance`: the sum of p (1 - p). A ranker that logs other
    probabilities than it draws from makes every weighted figure wrong, and nothing else would show it.
    """
    if variance <= 0:
        return abs(excess) < 0.5  # certain draws: counts are whole
    return abs(excess) <= widening(variance, alpha=ALARM_BELOW / 10) * math.sqrt(variance)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
