"""How many sends a test needs before it is started."""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from shared.inference.sequence import ALPHA, TUNED_FOR, mixing

POWER = 0.8
"""How often a lift that is there is to be found."""

_MOST = 10**10  # sends; beyond that the answer is "never"
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Plan:
    """`sends` to watch at every look; `sends_one_look` if nobody looks before the end. Days rounded up."""

    sends: int
    days: int
    sends_one_look: int
    days_one_look: int


def plan(
    base: float, lift: float, control_share: float, per_day: float, *, power: float = POWER, alpha: float = ALPHA
) -> Plan | None:
    """For a base rate, a relative lift, control's share and sends a day; None when no number of sends would do.

    Raises ValueError, which names the argument.
    """
    _check(base, lift, control_share)
    if not per_day > 0:
        raise ValueError("per_day: must be above 0")
    sends = sends_needed(base, lift, control_share, power=power, alpha=alpha)
    if sends is None:
        return None
    reach = _NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)
    once = math.ceil((reach / _drift(base, lift, control_share)) ** 2)
    return Plan(sends, math.ceil(sends / per_day), once, math.ceil(once / per_day))


def sends_needed(
    base: float, lift: float, control_share: float, *, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """Sends of both arms until the always-valid interval has left out "no difference" with this probability."""
    if not 0 < base < 1 or not 0 < base * (1 + lift) < 1 or not lift or not 0 < control_share < 1:
        return None
    return sends_for(_drift(base, lift, control_share), power=power, alpha=alpha)


@lru_cache(maxsize=4096)  # a millisecond each, and pages ask it again and again of the same counts
def sends_for(drift: float, *, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """The same for any reward. `drift`: the difference, in standard deviations of what one send adds to the sum."""
    low, high = 1, 2
    while _found_by(high, drift, alpha) < power:
        low, high = high, high * 2
        if high > _MOST:
            return None
    while high - low > max(1, low // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if _found_by(middle, drift, alpha) >= power else (middle, high)
    return high


def found_by(sends: float, base: float, lift: float, control_share: float, alpha: float = ALPHA) -> float:
    """At least this probability that the lift has been found after so many sends, looked at all along."""
    return _found_by(sends, _drift(base, lift, control_share), alpha)


def _found_by(sends: float, drift: float, alpha: float) -> float:
    """The line that ends a test is concave, so each of its tangents lies above it, and the probability that a Brownian
    motion with drift crosses a straight line is known exactly (Siegmund 1985). The best of the tangents is taken.
    """
    r = mixing(TUNED_FOR, alpha)
    return max(_crosses(_tangent(sends * part / 20, r, alpha), drift, sends) for part in range(1, 21))


def _drift(base: float, lift: float, control_share: float) -> float:
    """The difference, in standard deviations of what one send adds to the sum."""
    treated = base * (1 + lift)
    variance = treated * (1 - treated) / (1 - control_share) + base * (1 - base) / control_share
    return abs(base * lift) / math.sqrt(variance)


def _tangent(t: float, r: float, alpha: float) -> tuple[float, float]:
    """Where it meets t = 0, and its slope."""
    log = math.log((t + r) / (r * alpha * alpha))
    height = math.sqrt((t + r) * log)
    slope = (log + 1) / (2 * height)
    return height - slope * t, slope


def _crosses(line: tuple[float, float], drift: float, t: float) -> float:
    start, slope = line[0], line[1] - drift
    root = math.sqrt(t)
    straight = _NORMAL.cdf(-(start + slope * t) / root)
    folded = _NORMAL.cdf((slope * t - start) / root)
    exponent = -2 * start * slope
    return min(1.0, straight + (math.exp(exponent) * folded if folded and exponent < 700 else 0.0))


def _check(base: float, lift: float, control_share: float) -> None:
    if not 0 < base < 1:
        raise ValueError("base: must be between 0 and 1")
    if not lift or not 0 < base * (1 + lift) < 1:
        raise ValueError("lift: must not be 0, and the rate with it must be between 0 and 1")
    if not 0 < control_share < 1:
        raise ValueError("control_share: must be between 0 and 1")
