"""How many requests an account may be sent now, and how far apart. Arithmetic on a clock; no I/O.

Klaviyo counts per account and operation in two fixed windows, 1 s and 60 s.

- 60 s, once answers have told when the minute ends (`phase.py`): the whole limit, times the factor, in each window.
  A token counts for every window in which what it is for may arrive, at most `SLACK_S` after it was paid: near an edge
  for both.
- 60 s, as long as that is unknown: a fixed window always lies inside some sliding window of the same length, so
  keeping every sliding window of `STEADY_S + SLACK_S` below a share of the limit is safe for any phase. (A token
  bucket that holds the limit and refills at limit/window would admit twice the limit.)
- 1 s, of unknown phase always: requests of one account leave at least `spacing_s` apart, and at most `in_flight_max`
  are unanswered. What can arrive within one second is what was on its way at its start plus what left during it:
  `in_flight_max` + 1/`spacing_s` + 1, which is a share of the limit times the factor, however the network bunches them.

Other apps of the account spend of the same limit. What they have spent is what Klaviyo says is gone and is not ours;
what they are used to spending until the minute ends is left to them: they would get the 429s that we avoid. And so
is one burst of theirs, in the minute and in the second, because it may come between our look and our arrival.

Tokens are paid before anything is sent. A paused or dead worker leaves them unused; it can never use them twice.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil, exp, floor, sqrt

from services.profile_writer.quota.phase import MINUTE_S, Phase, Window

STEADY_S = 60
SLACK_S = 2
_SLIDING_SLOTS = STEADY_S + SLACK_S + 1  # the present second is counted whole
_SLOTS = _SLIDING_SLOTS + 3  # a window of unknown edge reaches a little further back
_BLIND_SHARE = 0.9  # of the minute's limit while its phase is unknown
_BURST_SHARE = 0.9  # of the second's limit: its phase is never known
_IN_FLIGHT_SHARE = 0.15  # of the burst limit; 10 of 75: at 150 ms an answer that still carries the whole rate
_SKEW_MAX_S = 600  # a row from further in the future was written by a clock gone wrong
_FACTOR_MIN, _FACTOR_MAX = 0.3, 1.0
_FACTOR_FALL, _FACTOR_RISE_PER_MIN = 0.8, 0.05
_BURST_MEMORY_S = 300.0
_RATE_SEEN_S = 3.0  # a shorter look at a minute says little of its rate
_DOUBT_S = 10.0  # of silence, believed before anything is known: one early burst is no rate
_OTHERS_BURST_SHARE_MAX = 0.6  # of the second's limit: we must be able to send at all
_LOOK_AGAIN_S = 2.0
_ASK_SHARE = 0.02  # of the minute's limit: what is asked for whatever is left to others


@dataclass(frozen=True, slots=True)
class Others:
    """What the account's other apps spend: `spent` in the minute of `at`; from experience `per_s`, None before a whole
    minute was seen, and `burst`, what came at once."""

    spent: int = 0
    at: datetime | None = None
    per_s: float | None = None
    burst: float = 0.0

    def seen(self, spent: int, window: Window, now: datetime) -> "Others":
        """After a look at `now`: in this window they have spent so much."""
        since_s = max(0.0, (now - self.at).total_seconds()) if self.at else 0.0
        burst = self.burst * exp(-since_s / _BURST_MEMORY_S)
        if not self.in_window(window):
            return Others(spent, now, self._rate_so_far(window), burst)
        # Hardly any time has passed between two looks: what came is one burst.
        jump = float(max(0, spent - self.spent)) if since_s < _LOOK_AGAIN_S else 0.0
        return Others(max(spent, self.spent), now, self.per_s, max(jump, burst))

    def _rate_so_far(self, window: Window) -> float | None:
        """With the minute that is over counted in, as far as it was seen."""
        if self.at is None:
            return None
        seen_s = (self.at.timestamp() - window.starts_s) % MINUTE_S
        rate = self.spent / max(_RATE_SEEN_S, seen_s)
        return rate if self.per_s is None else (self.per_s + rate) / 2

    def in_window(self, window: Window) -> bool:
        """Whether `spent` is about this window."""
        return self.at is not None and window.starts_s <= self.at.timestamp() < window.over_s

    def reserve(self, window: Window, now: datetime) -> int:
        """Tokens of this window that are theirs: what they have spent, what they will as a rule, and one burst."""
        spent, at_s = (self.spent, self.at.timestamp()) if self.at and self.in_window(window) else (0, window.starts_s)
        per_s = (self.per_s or 0.0) if at_s == window.starts_s else self._expected_per_s(spent, at_s - window.starts_s)
        to_come = per_s * max(0.0, window.ends_s - min(at_s, now.timestamp()))
        return spent + ceil(to_come + sqrt(to_come) - 1e-9) + ceil(self.burst - 1e-9)

    def _expected_per_s(self, spent: int, elapsed_s: float) -> float:
        """Experience of a minute and what this one has shown, each by its length."""
        if self.per_s is None:
            return spent / (_DOUBT_S + elapsed_s)
        return (self.per_s * MINUTE_S + spent) / (MINUTE_S + elapsed_s)


NOBODY_ELSE = Others()


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one account and what was spent of them. `slots`: tokens per second, newest first; `newest` is the
    epoch second of the first. `phase` None: nobody knows when the minute ends."""

    burst_limit: int
    steady_limit: int
    factor: float
    newest: int = 0
    slots: tuple[int, ...] = ()
    phase: Phase | None = None
    others: Others = field(default=NOBODY_ELSE)

    @property
    def ceiling(self) -> int:
        """Most tokens in a window whose phase is known."""
        return max(1, floor(self.steady_limit * self.factor))

    @property
    def blind_ceiling(self) -> int:
        """Most tokens in any `STEADY_S + SLACK_S` seconds while the phase is not known."""
        return max(1, floor(self.steady_limit * self.factor * _BLIND_SHARE))

    @property
    def in_flight_max(self) -> int:
        """Most unanswered requests at a time."""
        return max(1, floor(self._burst * _IN_FLIGHT_SHARE))

    @property
    def spacing_s(self) -> float:
        """Least seconds between two requests."""
        return 1 / max(0.5, self._burst - self.in_flight_max - 1)

    @property
    def _burst(self) -> float:
        theirs = min(self.others.burst, self.burst_limit * _OTHERS_BURST_SHARE_MAX)
        return (self.burst_limit - theirs) * self.factor * _BURST_SHARE

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
        """Tokens of the last minute."""
        return sum(self.slots[:_SLIDING_SLOTS])

    def scarce(self, now: datetime) -> bool:
        """Whether half of a minute's limit is gone, by us or for others: then the quota is what makes writes wait."""
        window = self.window(now)
        theirs = 0 if window is None else self.others.reserve(window, now)
        return (self.spent + theirs) * 2 >= self.ceiling

    def window(self, now: datetime) -> Window | None:
        """The minute that a token paid now counts for (near its end, for the next one too); None while nobody knows."""
        return self.phase.window(now) if self.phase is not None and self.phase.known(now) else None

    def _spent_since(self, epoch_s: float) -> int:
        seconds = self.newest - floor(epoch_s) + 1
        return sum(self.slots[: max(0, seconds)])

    def surely_spent(self, window: Window) -> int:
        """Tokens that count for this window and for no earlier one."""
        return self._spent_since(ceil(window.over_s - MINUTE_S))

    def room(self, now: datetime, share: float = 1.0) -> int:
        """Tokens that may be paid now, as long as no more than `share` of the ceiling is in use."""
        window = self.window(now)
        if window is None:
            return max(0, floor(self.blind_ceiling * share) - self.spent)
        most, ours = floor(self.ceiling * share), self._spent_since(window.starts_s - SLACK_S)
        # Without an answer nobody learns that the others have stopped: an account with an app that once spent all its
        # calls early in a minute would send nothing until the phase is forgotten.
        theirs = self.others.spent if self.others.in_window(window) else 0
        asked = min(ceil(self.ceiling * _ASK_SHARE), most - theirs)
        return max(0, most - ours - self.others.reserve(window, now), asked - ours)

    def told(self, limit: int, remaining: int | None, asked_at: datetime, now: datetime) -> "Budget":
        """The budget after an answer that carries RateLimit-*, asked no earlier than `asked_at`, all of ours being
        answered."""
        told, window = replace(self, steady_limit=limit), self.window(now)
        if window is None or remaining is None:
            return told
        if asked_at.timestamp() < window.over_s - MINUTE_S or now.timestamp() >= window.ends_s:
            return told  # it may speak of the minute before, or the next: what is gone there would seem others' here
        theirs = max(0, limit - remaining - self._spent_since(window.starts_s - SLACK_S))
        return replace(told, others=self.others.seen(theirs, window, now))

    def paid(self, tokens: int) -> "Budget":
        """The budget after paying; `tokens` is at most `room(now)`."""
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
        """Seconds until it is worth looking for room again; 0 when there is some."""
        if self.room(now, share) > 0:
            return 0.0
        window, now_s = self.window(now), now.timestamp()
        if window is None:
            return self._blind_wait_s(now_s, share)
        ours = self._spent_since(window.starts_s - SLACK_S)
        for_others = ours < floor(self.ceiling * share) and now_s + _LOOK_AGAIN_S < window.ends_s
        return _LOOK_AGAIN_S if for_others else window.over_s - now_s

    def _blind_wait_s(self, now_s: float, share: float) -> float:
        over = self.spent - floor(self.blind_ceiling * share) + 1
        for age in range(min(len(self.slots), _SLIDING_SLOTS) - 1, -1, -1):
            over -= self.slots[age]
            if over <= 0:
                return max(0.0, self.newest + _SLIDING_SLOTS - age - now_s)
        return float(_SLIDING_SLOTS)  # the share is zero: look again when all has passed


def factor_after_throttling(factor: float) -> float:
    """Somebody else spends of the same quota, or our picture of it is wrong: use less."""
    return max(_FACTOR_MIN, factor * _FACTOR_FALL)


def factor_after_calm(factor: float, calm_s: float) -> float:
    """Climb back slowly, in whole minutes without a 429."""
    return max(factor, min(_FACTOR_MAX, factor + _FACTOR_RISE_PER_MIN * floor(calm_s / 60)))
