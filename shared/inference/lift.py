"""Treatment against control: the difference of two means, and the lift, with intervals that hold at every look.

Every send adds m1 - m0 + Z (Y - m1) / c1 - (1 - Z)(Y - m0) / c0 to a sum whose mean is the difference sought and whose
variance per send is v1 / c1 + v0 / c0 (Z: in treatment; c: share; v: variance of a reward). That is the variance
v1 / n1 + v0 / n0 of the difference of the two means, so the sequence of `sequence.py` applies with t = n1 + n0. It
holds however the ranker shares out the treatment: who is in control is drawn apart from it.
"""

import math
from dataclasses import dataclass, replace

from shared.inference.power import sends_for, sends_needed
from shared.inference.sequence import ALPHA, EXPECTED_EVENTS, Interval, Moments, NotEnough, widening

WORTH = 0.15
"""The lift that a test is planned to find, where nobody says another."""


@dataclass(frozen=True, slots=True)
class Lift:
    """`difference` in rewards a send; `lift` relative to control: 0.1 is 10 % more."""

    treatment: float
    control: float
    difference: float
    difference_within: Interval
    lift: float
    lift_within: Interval

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out "no difference"."""
        return not self.difference_within.holds(0.0)


@dataclass(frozen=True, slots=True)
class Undecided(NotEnough):
    """There is an interval, but it still holds "no difference"."""

    so_far: Lift | None = None


def of_rates(
    treated: int,
    treated_events: int,
    controls: int,
    control_events: int,
    *,
    worth: float = WORTH,
    alpha: float = ALPHA,
    design: float = 1.0,
    of: str = "clicks",
) -> Lift | NotEnough:
    """The lift of a rate; `treated` and `controls` are delivered sends. `worth`: the lift that one wants to find.

    `design`: by how much the variance is larger because people come back (`design_effect`).
    """
    found = measure(treated, treated_events, controls, control_events, alpha, design, of)
    if isinstance(found, NotEnough) or found.decided:
        return found
    n = treated + controls
    needed = sends_needed(found.control, worth, controls / n, alpha=alpha)
    return _undecided(found, n, None if needed is None else math.ceil(needed * design), worth)


def of_amounts(
    treatment: Moments, control: Moments, events: int, *, worth: float = WORTH, alpha: float = ALPHA
) -> Lift | NotEnough:
    """The lift of a bounded amount a send, like revenue up to a cap. `events`: sends with any amount. The variances are
    those of people already (`person_effect`)."""
    if missing := _too_few(treatment.n, control.n, events, "conversions"):
        return missing
    found = compare(treatment, control, alpha)
    if isinstance(found, NotEnough) or found.decided:
        return found
    n = treatment.n + control.n
    spread = math.sqrt(treatment.variance * n / treatment.n + control.variance * n / control.n)
    needed = sends_for(worth * control.mean / spread, alpha=alpha) if spread else None
    return _undecided(found, n, needed, worth)


def _undecided(found: Lift, n: int, needed: int | None, worth: float) -> Undecided:
    if needed is None:
        return Undecided("the interval still holds no lift", None, found)
    if needed <= n:
        return Undecided(f"a lift of {worth:.0%} would most likely have shown by now", 0, found)
    return Undecided(f"to show a lift of {worth:.0%}", needed - n, found)


def measure(
    treated: int,
    treated_events: int,
    controls: int,
    control_events: int,
    alpha: float = ALPHA,
    design: float = 1.0,
    of: str = "clicks",
) -> Lift | NotEnough:
    """The same, decided or not."""
    if missing := _too_few(treated, controls, treated_events + control_events, of):
        return missing
    one, other = Moments.of_rate(treated_events, treated), Moments.of_rate(control_events, controls)
    return compare(
        replace(one, variance=one.variance * design), replace(other, variance=other.variance * design), alpha
    )


def _too_few(treated: int, controls: int, events: int, of: str) -> NotEnough | None:
    """What is missing before the normal approximation is to be trusted."""
    n = treated + controls
    if not treated or not controls:
        return NotEnough(
            "nothing was delivered in " + ("treatment" if controls else "control" if treated else "either")
        )
    expected = events / n * min(treated, controls)
    if expected >= EXPECTED_EVENTS:
        return None
    more = math.ceil(n * EXPECTED_EVENTS / expected) - n if events else None
    return NotEnough(f"fewer than {EXPECTED_EVENTS} {of} are to be expected in the smaller group", more)


def design_effect(sends: int, events: int, sends_squared: float, sends_events: float, events_squared: float) -> float:
    """How much larger the variance of a rate is than if every send were another person's; at least 1.

    The sums go over people, of whom the rate is a ratio: its variance is the sum of (events - rate * sends)² over the
    square of all sends. Whoever clicks once clicks again, and a persistent split puts all their sends in one arm.
    """
    if not sends or not 0 < events < sends:
        return 1.0
    rate = events / sends
    return person_effect(Moments(sends, rate, rate * (1 - rate)), sends_squared, sends_events, events_squared)


def person_effect(of: Moments, sends_squared: float, sends_amount: float, amount_squared: float) -> float:
    """The same for the mean of any amount, by the same sums over people."""
    if not of.n or not of.variance:
        return 1.0
    by_person = amount_squared - 2 * of.mean * sends_amount + of.mean * of.mean * sends_squared
    return max(1.0, by_person / (of.n * of.variance))


def compare(treatment: Moments, control: Moments, alpha: float = ALPHA) -> Lift | NotEnough:
    """Both intervals. That of the lift holds 0 exactly when that of the difference does."""
    if control.mean <= 0:
        return NotEnough("control has no reward yet, so there is nothing to compare with")
    reach = widening(treatment.n + control.n, alpha=alpha)
    difference = treatment.mean - control.mean
    half = reach * math.sqrt(treatment.error + control.error)
    return Lift(
        treatment.mean,
        control.mean,
        difference,
        Interval(difference - half, difference + half),
        treatment.mean / control.mean - 1,
        _lift_within(treatment, control, reach),
    )


def _lift_within(treatment: Moments, control: Moments, reach: float) -> Interval:
    """Fieller: all ratios q for which treatment - q * control is within reach of zero, minus one.

    For each q that is a sequence of its own, so the true ratio is in at every look with the probability promised. The
    condition is a q² - 2 b q + c <= 0; the smaller root is written so that it exists for a = 0, too.
    """
    a = control.mean**2 - reach**2 * control.error
    b = treatment.mean * control.mean
    c = treatment.mean**2 - reach**2 * treatment.error
    root = math.sqrt(max(0.0, b * b - a * c))
    low = c / (b + root) if c > 0 else 0.0
    return Interval(low - 1, (b + root) / a - 1 if a > 0 else None)  # a <= 0: control itself may be as good as zero
