"""When Klaviyo's minute ends, as far as its answers tell. Arithmetic on a clock; no I/O.

The windows are fixed, so one number, the end modulo 60 s, says all. An answer tells whole seconds to the end, counted
at a moment between its sending and its arrival, rounded we do not know which way: that is an interval of some 2 s, and
intervals of many answers overlap in about one. That is enough: 750 tokens leave in 15 s, so a second of doubt at the
edge, in which a token counts for both minutes, costs nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from math import floor

MINUTE_S = 60.0
_OPENS_AFTER_S = 0.1  # for the clocks of several replicas
_DRIFT = 0.0002  # seconds a second that two clocks may part; five times what NTP corrects
_FORGET_S = 900.0
_ROUNDING_S = 1.0


@dataclass(frozen=True, slots=True)
class Phase:
    """The minute ends between `low_s` and `low_s + width_s`, epoch seconds modulo 60, as of `at`."""

    low_s: float
    width_s: float
    at: datetime

    def known(self, now: datetime) -> bool:
        """Whether it still says something: not too old, not of a clock gone wrong, and narrower than half a minute."""
        return abs((now - self.at).total_seconds()) <= _FORGET_S and self._aged(now).width_s < MINUTE_S / 2

    def _aged(self, now: datetime) -> "Phase":
        drift_s = abs((now - self.at).total_seconds()) * _DRIFT
        return Phase((self.low_s - drift_s) % MINUTE_S, self.width_s + 2 * drift_s, now)

    def narrowed(self, seen: "Phase") -> "Phase":
        """What this and a newer answer say together; where they contradict, a clock has jumped and the newer counts."""
        aged = self._aged(seen.at)
        apart_s = (seen.low_s - aged.low_s + MINUTE_S / 2) % MINUTE_S - MINUTE_S / 2
        low_s, high_s = max(0.0, apart_s), min(aged.width_s, apart_s + seen.width_s)
        return seen if high_s < low_s else Phase((aged.low_s + low_s) % MINUTE_S, high_s - low_s, seen.at)

    def window(self, now: datetime) -> "Window":
        """The latest one that has surely begun."""
        aged, now_s = self._aged(now), now.timestamp()
        doubt_s = aged.width_s + _OPENS_AFTER_S
        begun = floor((now_s - doubt_s - aged.low_s) / MINUTE_S)
        starts_s = aged.low_s + begun * MINUTE_S
        return Window(starts_s, starts_s + MINUTE_S, starts_s + MINUTE_S + doubt_s)


@dataclass(frozen=True, slots=True)
class Window:
    """One minute of Klaviyo's, epoch seconds: it starts no earlier than `starts_s`, ends no earlier than `ends_s`, and
    at `over_s` the next one has surely begun."""

    starts_s: float
    ends_s: float
    over_s: float


def phase_seen(reset_s: int, sent_at: datetime, answered_at: datetime) -> Phase:
    """What one answer tells."""
    low_s = sent_at.timestamp() + reset_s - _ROUNDING_S
    width_s = max(0.0, (answered_at - sent_at).total_seconds()) + 2 * _ROUNDING_S
    return Phase(low_s % MINUTE_S, width_s, answered_at)
