"""How many requests an account may be sent now, and how far apart. Arithmetic on a clock; no I/O.

Klaviyo counts per account and operation in two fixed windows, 1 s and 60 s, whose phase we do not know. A fixed window
always lies inside some sliding window of the same length, so keeping every sliding window below the limit is safe for
any phase. (A token bucket that holds the limit and refills at limit/window would admit twice the limit.)

- 60 s: tokens are counted per second in which they were paid; they count for `STEADY_S + SLACK_S`, because a request
  may arrive up to the slack after it was paid for. So 60/63 of the limit can be used, times the factor.
- 1 s: requests of one account leave at least `spacing_s` apart, and at most `in_flight_max` are unanswered. What can
  arrive within one second is what was on its way at its start plus what left during it: `in_flight_max` +
  1/`spacing_s` + 1, which is the limit times the factor, however the network bunches them.

Tokens are paid before anything is sent. A paused or dead worker leaves them unused; it can never use them twice.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import floor

STEADY_S = 60
SLACK_S = 2
_SLOTS = STEADY_S + SLACK_S + 1  # the present second is counted whole
_IN_FLIGHT_SHARE = 0.15  # of the burst limit; 10 of 75: at 150 ms an answer that still carries the whole rate
_SKEW_MAX_S = 600  # a row from further in the future was written by a clock gone wrong
_FACTOR_MIN, _FACTOR_MAX = 0.3, 0.95
_FACTOR_FALL, _FACTOR_RISE_PER_MIN = 0.8, 0.02


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one account and what was spent of them. `slots`: tokens per second, newest first; `newest` is the
    epoch second of the first."""

    burst_limit: int
    steady_limit: int
    factor: float
    newest: int = 0
    slots: tuple[int, ...] = ()

    @property
    def ceiling(self) -> int:
        """Most tokens in any `STEADY_S + SLACK_S` seconds."""
        return max(1, floor(self.steady_limit * self.factor))

    @property
    def in_flight_max(self) -> int:
        """Most unanswered requests at a time."""
        return max(1, floor(self.burst_limit * self.factor * _IN_FLIGHT_SHARE))

    @property
    def spacing_s(self) -> float:
        """Least seconds between two requests."""
        return 1 / max(0.5, self.burst_limit * self.factor - self.in_flight_max - 1)

    def at(self, now: datetime) -> "Budget":
        """The budget as it stands now; seconds that are over have dropped out.

        A clock that goes back finds that no time has passed: nothing is forgotten, so nothing is granted twice. Only
        when the row is absurdly far ahead is it taken as spent just now, and heals within a minute.
        """
        second = floor(now.timestamp())
        if self.newest - second > _SKEW_MAX_S:
            return replace(self, newest=second, slots=(self.ceiling,))
        passed = second - self.newest
        if passed <= 0:
            return self
        return replace(self, newest=second, slots=((0,) * min(passed, _SLOTS) + self.slots)[:_SLOTS])

    @property
    def spent(self) -> int:
        """Tokens that still count."""
        return sum(self.slots)

    def room(self, share: float = 1.0) -> int:
        """Tokens that may be paid now, as long as no more than `share` of the ceiling is in use."""
        return max(0, floor(self.ceiling * share) - self.spent)

    def paid(self, tokens: int) -> "Budget":
        """The budget after paying; `tokens` is at most `room()`."""
        first, *rest = self.slots or (0,)
        return replace(self, slots=(first + tokens, *rest))

    def refunded(self, second: int, tokens: int) -> "Budget":
        """The budget when some of the tokens paid in that epoch second were certainly not used."""
        age = self.newest - second
        if not 0 <= age < len(self.slots):
            return self
        slots = list(self.slots)
        slots[age] = max(0, slots[age] - tokens)
        return replace(self, slots=tuple(slots))

    def wait_s(self, now: datetime, share: float = 1.0) -> float:
        """Seconds until there is room for at least one token; 0 when there is."""
        over = self.spent - floor(self.ceiling * share) + 1
        if over <= 0:
            return 0.0
        for age in range(len(self.slots) - 1, -1, -1):
            over -= self.slots[age]
            if over <= 0:
                return max(0.0, self.newest + _SLOTS - age - now.timestamp())
        return float(_SLOTS)  # the share is zero: look again when all has passed


def factor_after_throttling(factor: float) -> float:
    """Somebody else spends of the same quota, or our picture of it is wrong: use less."""
    return max(_FACTOR_MIN, factor * _FACTOR_FALL)


def factor_after_calm(factor: float, calm_s: float) -> float:
    """Climb back slowly, in whole minutes without a 429."""
    return max(factor, min(_FACTOR_MAX, factor + _FACTOR_RISE_PER_MIN * floor(calm_s / 60)))
