"""Klaviyo's fixed rate windows as arithmetic on a clock: no I/O, no sleeping, no threads.

Every (account, operation) has a burst window of 1 s and a steady window of 60 s, some a daily one. The windows are
fixed, their phase belongs to the account and is unknown to callers.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from simulator.foreign import Foreign

BURST_S, STEADY_S, DAILY_S = 1.0, 60.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Quota:
    """What one operation allows per account. Source: `x-klaviyo-ratelimit` of revision 2026-07-15."""

    burst: int
    steady: int
    daily: int | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The steady window as the RateLimit-* headers tell it; `reset_s` is whole seconds to its end."""

    limit: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True)
class Refused:
    """`retry_after_s` is whole seconds, at least 1: an earlier try is refused again."""

    retry_after_s: int
    window_s: float


@dataclass(slots=True)
class FixedWindow:
    """Counts one length of time. `history_max` is the fullest window ever admitted, for whoever checks the limits."""

    length_s: float
    limit: int
    phase_s: float
    index: int = -1
    used: int = 0
    admitted: int = 0
    history_max: int = 0

    def turn_to(self, now_s: float) -> None:
        """Open the window that holds `now_s`."""
        index = math.floor((now_s - self.phase_s) / self.length_s)
        if index != self.index:
            self.index, self.used, self.admitted = index, 0, 0

    def start_s(self) -> float:
        return self.index * self.length_s + self.phase_s

    def left_s(self, now_s: float) -> float:
        return self.start_s() + self.length_s - now_s

    def book(self) -> None:
        self.used += 1
        self.admitted += 1
        self.history_max = max(self.history_max, self.admitted)


@dataclass(slots=True)
class Windows:
    """All windows of one (account, operation); a request passes all or spends none."""

    quota: Quota
    phase_s: float
    foreign: Foreign | None = None
    windows: list[FixedWindow] = field(init=False)
    minutes: Counter[int] = field(default_factory=Counter)  # admitted calls, by the number of the minute
    refused: int = 0

    def __post_init__(self) -> None:
        self.windows = [
            FixedWindow(BURST_S, self.quota.burst, self.phase_s % BURST_S),
            FixedWindow(STEADY_S, self.quota.steady, self.phase_s),
        ]
        if self.quota.daily is not None:
            self.windows.append(FixedWindow(DAILY_S, self.quota.daily, self.phase_s))

    def take(self, now_s: float) -> Granted | Refused:
        """Spend one request at `now_s` (seconds of any fixed epoch), or say how long the fullest window still lasts."""
        if self.foreign is not None:
            for at_s in self.foreign.until(now_s):
                self._take_foreign(self.foreign, at_s)
        for window in self.windows:
            window.turn_to(now_s)
        full = [window for window in self.windows if window.used >= window.limit]
        if full:
            self.refused += 1
            longest = max(full, key=lambda window: window.left_s(now_s))
            return Refused(max(1, math.ceil(longest.left_s(now_s))), longest.length_s)
        for window in self.windows:
            window.book()
        steady = self.windows[1]
        self.minutes[steady.index] += 1
        return Granted(steady.limit, max(0, steady.limit - steady.used), max(0, math.ceil(steady.left_s(now_s))))

    def _take_foreign(self, foreign: Foreign, at_s: float) -> None:
        """Another app's call; what finds a window full is refused like ours."""
        for window in self.windows:
            window.turn_to(at_s)
        if any(window.used >= window.limit for window in self.windows):
            foreign.refused += 1
            return
        for window in self.windows:
            window.used += 1
