"""Treatment against control: the difference of two means, and the lift, with intervals that hold at every look.

Days are compared each by itself and added up (`strata.py`). Who is in control is drawn apart from what people do, so
given how many sends each day brought to each arm the sum over days of

    w (T - C - true difference of the day),    w = n1 n0 / (n1 + n0),

is a martingale whose variance V is the sum of w² (v1 / n1 + v0 / n0) (v: variance of a reward). The line of
`sequence.py` applies to it: divided by the sum of w, what it holds at all looks is the mean of the days' true
differences with these weights. For the lift the same is true of T - q C at every q.

The line's `r` is said in sends, so V has to be, too: t = n1 + n0 with the effective sends of `strata.py`, which is the
sum of w over c1 c0 (c: an arm's share, in the mean over the sum of w). While control's share stays what it is, t is the
number of sends and `r` is a constant, as the proof wants it. When the share changes, the mean share moves slowly, and
`r`, measured in V, with it: that is an approximation. It is on the safe side where control's share shrinks after
30,000 sends, as when a template is shipped: `r` is at most the one that is best there, and a smaller one draws the line
higher. For other changes no proof is known to us; `bench/inference.py` measures a share that falls and one that rises,
both with a season. A constant taken from the first days would be proved, and be wrong for all time where they were
few. Other approximations are those of any such sequence: v is estimated, and the day that still runs has the shares of
its sends so far.

It holds however the ranker shares out the treatment: who is in control is drawn apart from it.
"""

import math
from dataclasses import dataclass, replace

from shared.inference.power import sends_for, sends_needed
from shared.inference.sequence import ALPHA, EXPECTED_EVENTS, Interval, Moments, NotEnough, widening
from shared.inference.strata import Strata

WORTH = 0.15
"""The lift that a test is planned to find, where nobody says another."""

_ROUNDING = 1e-9  # of sums with weights, which stand for whole numbers


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
    strata: Strata, *, worth: float = WORTH, alpha: float = ALPHA, design: float = 1.0, of: str = "clicks"
) -> Lift | NotEnough:
    """The lift of a rate of delivered sends. `worth`: the lift that one wants to find.

    `design`: by how much the variance is larger because people come back (`design_effect`).
    """
    found = measure(strata, alpha, design, of)
    if isinstance(found, NotEnough) or found.decided:
        return found
    treated, controls = (one.n for one in strata.of_rates())
    n = treated + controls
    needed = sends_needed(found.control, worth, controls / n, alpha=alpha)
    return _undecided(found, n, None if needed is None else math.ceil(needed * design), worth)


def of_amounts(
    treatment: Moments, control: Moments, events: float, *, worth: float = WORTH, alpha: float = ALPHA
) -> Lift | NotEnough:
    """The lift of a bounded amount a send, like revenue up to a cap. `events`: sends with any amount, of those that
    stand in the moments. The variances are those of people already (`person_effect`)."""
    if missing := _too_few(treatment.n, control.n, events, "conversions"):
        return missing
    found = compare(treatment, control, alpha)
    if isinstance(found, NotEnough) or found.decided:
        return found
    n = treatment.n + control.n
    spread = math.sqrt(treatment.variance * n / treatment.n + control.variance * n / control.n)
    needed = sends_for(worth * control.mean / spread, alpha=alpha) if spread else None
    return _undecided(found, n, needed, worth)


def _undecided(found: Lift, n: float, needed: int | None, worth: float) -> Undecided:
    if needed is None:
        return Undecided("the interval still holds no lift", None, found)
    more = needed - round(n)
    if more <= 0:
        return Undecided(f"a lift of {worth:.0%} would most likely have shown by now", 0, found)
    return Undecided(f"to show a lift of {worth:.0%}", more, found)


def measure(strata: Strata, alpha: float = ALPHA, design: float = 1.0, of: str = "clicks") -> Lift | NotEnough:
    """The same, decided or not."""
    if missing := nothing_in_both(strata):
        return missing
    one, other = strata.of_rates()
    if missing := _too_few(one.n, other.n, events_of(one, other), of):
        return missing
    return compare(
        replace(one, variance=one.variance * design), replace(other, variance=other.variance * design), alpha
    )


def events_of(treatment: Moments, control: Moments) -> float:
    """How many events stand in the moments of two rates."""
    return treatment.n * treatment.mean + control.n * control.mean


def nothing_in_both(strata: Strata) -> NotEnough | None:
    """Why nothing can be compared at all."""
    if strata.weight:
        return None
    if strata.treated_alone and strata.controls_alone:
        return NotEnough("on no day was something delivered in both arms")
    return NotEnough(
        "nothing was delivered in "
        + ("treatment" if strata.controls_alone else "control" if strata.treated_alone else "either")
    )


def _too_few(treated: float, controls: float, events: float, of: str) -> NotEnough | None:
    """What is missing before the normal approximation is to be trusted."""
    n = treated + controls
    expected = events / n * min(treated, controls)
    if expected >= EXPECTED_EVENTS - _ROUNDING:
        return None
    more = math.ceil(n * EXPECTED_EVENTS / expected - n) if expected > _ROUNDING else None
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
