"""Both arms day by day, so that a day on which more was clicked says nothing of the arm that had more of its sends.

Pooled over all days, the arm that has more of a bad season looks worse: whenever control's share changes (a template is
shipped, a holdout begins, Klaviyo's branches get other weights), the difference of the pooled rates is that of seasons.
Here each day d is compared by itself, and the days are added up with the weights of Mantel and Haenszel,

    w = n1 n0 / (n1 + n0),    sum of w (T - C) / sum of w,

which are what a day can tell: a day that only one arm was sent on has none and drops out. The two weighted means count
as those of as many sends as would leave them as unsure, n = (sum of w)² / (sum of w² / n of the day), never more than
there are. At one share on all days that is what pooling says: the same means (but for chance in the day's shares), all
sends, and their variance.

The variance of a reward is taken around the mean of all days, weighted as the variance of the arm's mean is (w² / n),
rather than day by day: a day with three sends knows nothing of its own. It is too large by what that mean moves from
day to day, never too small (the variance of a mixture is at least the mean of the variances).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import NamedTuple

from shared.inference.sequence import Moments


class Day(NamedTuple):
    """Delivered sends of one arm on one day: how many, what they came to, and the sum of its squares."""

    day: date
    control: bool
    sends: int
    total: float
    squares: float

    @classmethod
    def of_events(cls, day: date, control: bool, sends: int, events: int) -> "Day":
        """Each send came to 1 or to nothing."""
        return cls(day, control, sends, events, events)


@dataclass(slots=True)
class Arm:
    """One arm's sums over days; w: the day's weight, n: the arm's sends on it."""

    means: float = 0.0  # sum of w times the day's mean
    spread: float = 0.0  # sum of w² / n
    total: float = 0.0  # the same, times the day's mean
    squares: float = 0.0  # the same, times the day's mean square

    def add(self, weight: float, sends: int, total: float, squares: float) -> None:
        """One day's, with sends."""
        part = weight * weight / sends
        self.means += weight * total / sends
        self.spread += part
        self.total += part * total / sends
        self.squares += part * squares / sends


@dataclass(slots=True)
class Strata:
    """Days that were added up. `treated_alone`, `controls_alone`: sends of days on which the other arm had none."""

    weight: float = 0.0
    treated_alone: int = 0
    controls_alone: int = 0
    treatment: Arm = field(default_factory=Arm)
    control: Arm = field(default_factory=Arm)

    @classmethod
    def of(cls, days: Iterable[Day]) -> "Strata":
        """All of these, in the order of days; several of one arm and day are one."""
        found = cls()
        for _, of_day in groupby(sorted(days, key=lambda one: one.day), key=lambda one: one.day):
            found.add(of_day)
        return found

    def add(self, of_day: Iterable[Day]) -> None:
        """All of one day that has not been added yet."""
        sums = ([0, 0.0, 0.0], [0, 0.0, 0.0])
        for one in of_day:
            arm = sums[one.control]
            arm[0], arm[1], arm[2] = arm[0] + one.sends, arm[1] + one.total, arm[2] + one.squares
        treated, controls = int(sums[0][0]), int(sums[1][0])
        if not treated or not controls:
            self.treated_alone += treated
            self.controls_alone += controls
            return
        weight = treated * controls / (treated + controls)
        self.weight += weight
        self.treatment.add(weight, treated, *sums[0][1:])
        self.control.add(weight, controls, *sums[1][1:])

    @property
    def uncompared(self) -> int:
        """Sends of which nothing can be said."""
        return self.treated_alone + self.controls_alone

    def of_rates(self) -> tuple[Moments, Moments]:
        """Treatment and control, of events."""
        return self._moments(self.treatment, None), self._moments(self.control, None)

    def of_amounts(self, typical_square: float) -> tuple[Moments, Moments]:
        """Treatment and control, of amounts; `typical_square` as in `Moments.of_amounts`."""
        return self._moments(self.treatment, typical_square), self._moments(self.control, typical_square)

    def _moments(self, arm: Arm, typical_square: float | None) -> Moments:
        if not self.weight:
            return Moments(0, 0.0, 0.0)
        n = self.weight * self.weight / arm.spread
        total, squares = n * arm.total / arm.spread, n * arm.squares / arm.spread
        around = (
            Moments.of_rate(total, n)
            if typical_square is None
            else Moments.of_amounts(n, total, squares, typical_square)
        )
        return Moments(n, arm.means / self.weight, around.variance)
