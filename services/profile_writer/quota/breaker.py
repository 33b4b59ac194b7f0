"""When an account whose calls fail is left alone, and how it is trusted again. Arithmetic over turns; no I/O.

| what happened | what follows |
| a turn without a useful answer | a rest that doubles, 0.5 to 16 s, then 30 s; from the second on, one write asks |
| half or more of at least 20 calls within 30 s failed | open: a rest of 30 s, then one write asks |
| it was answered | turns of 2, 4, 8 and 16 writes, then closed |
| half or more of such a turn failed | open again |

A Klaviyo that is silent is asked again sooner than one that fails half of its calls: one call finds out that the first
is back, and many may fail before the second is known to be. Waiting is cheap for a while (emails leave two minutes
after their webhook at the earliest); calls that may have been applied are not, each is sent again.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import floor
from random import Random

_REST_FIRST_S = 0.5
_OPEN_S, _OPEN_JITTER = 30.0, 0.1
_OPEN_FAILURES = 6  # doubled so often a rest is the longest: 0.5 s · 2^6 is over 30 s
_PROBE_AFTER = 2  # turns in a row without a useful answer
_LEAST_CALLS, _FAILED_SHARE = 20, 0.5
_TRUSTED = 16  # writes of the last turn before the breaker is closed
_STEP_S, _STEPS = 5, 6
_SKEW_MAX_STEPS = 120  # ten minutes: a row from further in the future was written by a clock gone wrong


@dataclass(frozen=True, slots=True)
class Breaker:
    """`failures`: how often the rest has doubled; `writes`: most writes of the next turn, None while closed; `calls`
    and `failed`: by steps of 5 s, the newest first, `newest` is the number of the first."""

    failures: int = 0
    writes: int | None = None
    newest: int = 0
    calls: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()

    def most(self, writes: int) -> int:
        """Most writes of the next turn, of so many."""
        return writes if self.writes is None else min(writes, self.writes)

    def after(self, useful: int, failed: int, now: datetime, rng: Random) -> tuple["Breaker", float]:
        """The breaker after a turn with so many useful and failed answers, and the seconds that the account rests."""
        if useful + failed == 0:
            return self, 0.0
        noted = self._noted(useful + failed, failed, now)
        if useful == 0:
            rest_s = _rest_s(self.failures, rng)
            probes = self.writes is not None or self.failures + 1 >= _PROBE_AFTER or noted.tripped
            return replace(noted, failures=self.failures + 1, writes=1 if probes else None), rest_s
        if failed >= _FAILED_SHARE * (useful + failed) if self.writes is not None else noted.tripped:
            opened = replace(noted, failures=max(self.failures, _OPEN_FAILURES), writes=1)
            return opened, _open_s(rng)
        if self.writes is None:
            return replace(noted, failures=0), 0.0
        if self.writes < _TRUSTED:
            return replace(noted, writes=2 * self.writes), 0.0
        return Breaker(), 0.0

    @property
    def tripped(self) -> bool:
        """Whether what was noted says that Klaviyo fails."""
        calls = sum(self.calls)
        return calls >= _LEAST_CALLS and sum(self.failed) >= _FAILED_SHARE * calls

    def _noted(self, calls: int, failed: int, now: datetime) -> "Breaker":
        """With a turn's calls. A clock that goes back finds that no time has passed."""
        step = floor(now.timestamp() / _STEP_S)
        if self.newest - step > _SKEW_MAX_STEPS:
            return replace(self, newest=step, calls=(calls,), failed=(failed,))
        passed = max(0, step - self.newest)
        all_calls, all_failed = _shifted(self.calls, passed), _shifted(self.failed, passed)
        return replace(
            self, newest=max(step, self.newest),
            calls=(all_calls[0] + calls, *all_calls[1:]), failed=(all_failed[0] + failed, *all_failed[1:]),
        )  # fmt: skip


def _rest_s(failures: int, rng: Random) -> float:
    """The rest after so many doublings. The longest one is never shortened: one call in 30 s is what a Klaviyo that
    answers nothing has to bear of an account."""
    doubled_s = _REST_FIRST_S * 2.0 ** min(failures, _OPEN_FAILURES)
    return doubled_s * rng.uniform(0.5, 1) if doubled_s < _OPEN_S else _open_s(rng)


def _open_s(rng: Random) -> float:
    return _OPEN_S * (1 + _OPEN_JITTER * rng.random())


def _shifted(counts: tuple[int, ...], steps: int) -> tuple[int, ...]:
    return ((0,) * min(steps, _STEPS) + counts + (0,))[: max(1, min(_STEPS, steps + len(counts)))]
