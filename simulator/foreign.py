"""What the customer's other apps spend of the same quota: arrivals on the box's clock, drawn as they are needed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Pattern = Literal["steady", "poisson", "bursts"]


@dataclass(slots=True)
class Foreign:
    """Calls of other apps from `since_s` (epoch seconds) on, `per_s` of them on average.

    | pattern | the calls come |
    |---|---|
    | steady | evenly |
    | poisson | one by one, at random |
    | bursts | `burst` at once, at random |

    `refused` counts those that found a window full.
    """

    per_s: float
    pattern: Pattern
    burst: int
    since_s: float
    chance: random.Random
    calls: int = 0
    refused: int = 0
    _next_s: float = 0.0

    def __post_init__(self) -> None:
        self._next_s = self._following(self.since_s)

    def until(self, now_s: float) -> Iterator[float]:
        """The moments of the calls up to now that were not told before."""
        while self.per_s > 0 and self._next_s <= now_s:
            at_s = self._next_s
            for _ in range(self.burst if self.pattern == "bursts" else 1):
                self.calls += 1
                yield at_s
            self._next_s = self._following(at_s)

    def _following(self, at_s: float) -> float:
        if self.per_s <= 0:
            return at_s
        if self.pattern == "steady":
            return self.since_s + (self.calls + 1) / self.per_s
        return at_s + self.chance.expovariate(self.per_s / (self.burst if self.pattern == "bursts" else 1))
