"""Whether Klaviyo counts imports of profiles apart from PATCH, as the counters in both operations' answers tell. Pure.

Both answers say how much of a minute's limit is gone. Were it one counter, an import's would lie between those of the
PATCH answered before it left and of the PATCH sent after it was answered, however much other apps spend: what they
spend is in all three. So what lies far from that bracket says that there are two counters, and only what keeps lying
in it that there is one: that two agree by chance time and again is what looks in a row, seconds apart, rule out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from services.profile_writer.quota.phase import MINUTE_S, Phase

Verdict = Literal["separate", "shared", "refused"]
Vote = Literal["separate", "shared", "unclear"]

EVIDENCE_LEAST = 50
"""Requests that a minute must have counted before counters may differ; that they agree is seen from half as many: where
one counter is taken for two, each road leaves so much to what it takes for other apps that hardly more is sent."""

REST = timedelta(days=1)
_LOOK_EVERY = timedelta(seconds=2)  # a counter that lags a little must have caught up by the next look
_LOOKS_MAX = 30  # without a verdict: answers carry no counter, or contradict each other
_SEPARATE_VOTES, _SHARED_VOTES = 3, 10
"""One counter cannot look like two. Two look like one while other apps happen to spend as fast as we do, which may last
as long as we spend in a minute: ten looks are of two minutes at least."""
_APART_LEAST, _APART_SHARE = 25, 4  # of the bracket: Klaviyo calls its counter approximate
_TOLERANCE = 5


class Reading(NamedTuple):
    """One answer: `used` of the minute's limit was gone when it was counted, between the two moments."""

    sent_at: datetime
    answered_at: datetime
    used: int


@dataclass(frozen=True, slots=True)
class Look:
    """One import's counter, and those of PATCH before and after it (`high` None: not seen). `ours`: requests of ours
    on both roads that one counter would have to show in either."""

    used: int
    low: int
    high: int | None
    ours: int = 0


def looked(
    imports: Sequence[Reading], patches: Sequence[Reading], phase: Phase | None, paid_at: datetime, ours: int = 0
) -> Look | None:
    """What a turn's answers show; the last import with a bracket tells most. `ours`: requests of ours on both roads
    that the minute of `paid_at` had surely counted by then. None when all are too near the minute's edge, or nobody
    knows when it ends."""
    if phase is None:
        return None
    looks: list[Look] = []
    for one in sorted(imports, key=lambda reading: reading.sent_at):
        if not phase.known(one.sent_at):
            continue
        window = phase.window(one.sent_at)
        begun_s = window.over_s - MINUTE_S
        if one.answered_at.timestamp() > window.ends_s:
            continue
        before = [
            patch.used for patch in patches if patch.answered_at <= one.sent_at and patch.sent_at.timestamp() >= begun_s
        ]
        after = [
            patch.used
            for patch in patches
            if patch.sent_at >= one.answered_at and patch.answered_at.timestamp() <= window.ends_s
        ]
        if before:
            counted = ours if paid_at.timestamp() >= begun_s else 0
            looks.append(Look(one.used, max(before), min(after, default=None), counted))
    return max(reversed(looks), key=lambda look: look.high is not None, default=None)


def vote(look: Look) -> Vote | None:
    """What one look says; None when it says nothing."""
    low = max(look.low, look.ours)
    if look.high is None:
        return "separate" if low >= EVIDENCE_LEAST and look.used <= low - _apart(low) else None
    high = max(low, look.high)
    below = min(look.used, look.high) <= low - _apart(low)
    if below or look.used >= high + _apart(high):
        return "separate" if low >= EVIDENCE_LEAST else None
    if low < EVIDENCE_LEAST // 2:
        return None
    return "shared" if low - _TOLERANCE <= look.used <= high + _TOLERANCE else "unclear"


def _apart(used: int) -> int:
    return max(_APART_LEAST, used // _APART_SHARE)


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one account. `separate` and `shared`: looks in a row that said so; `looks`: writes sent for the
    sake of one since the last verdict; `refused` is the operation, not a write."""

    verdict: Verdict | None = None
    since: datetime | None = None
    separate: int = 0
    shared: int = 0
    looks: int = 0
    looked_at: datetime | None = None

    @property
    def carries(self) -> bool:
        """Whether the second budget may be spent."""
        return self.verdict == "separate"

    def wants_look(self, now: datetime) -> bool:
        """Whether one write is to go by the road to find out."""
        if self.carries or _within(_LOOK_EVERY, self.looked_at, now):
            return False
        if self.looks >= _LOOKS_MAX:
            return not _within(REST, self.looked_at, now)
        return self.verdict is None or self.looks > 0 or not _within(REST, self.since, now)

    def looking(self, now: datetime) -> "Proof":
        """When one has left. After a rest all begins anew."""
        if self.looks >= _LOOKS_MAX:
            return replace(self, separate=0, shared=0, looks=1, looked_at=now)
        return replace(self, looks=self.looks + 1, looked_at=now)

    def after(self, said: Vote | None, now: datetime) -> "Proof":
        """After one turn's look. While the road carries, its answers are looked at as before: what does not hold any
        more ends."""
        if said is None or (self.carries and _within(_LOOK_EVERY, self.looked_at, now)):
            return self
        looked_at = now if self.carries else self.looked_at
        if said == "separate":
            votes = replace(self, separate=min(self.separate + 1, _SEPARATE_VOTES), shared=0, looked_at=looked_at)
            return votes if self.carries or votes.separate < _SEPARATE_VOTES else _judged(votes, "separate", now)
        if said == "unclear":
            return replace(self, shared=0, looked_at=looked_at)
        votes = replace(self, shared=self.shared + 1, separate=0, looked_at=looked_at)
        return votes if votes.shared < _SHARED_VOTES else _judged(votes, "shared", now)

    def refused(self, now: datetime) -> "Proof":
        """Klaviyo answers this operation with a refusal that PATCH does not get."""
        return _judged(self, "refused", now)


NOTHING_PROVED = Proof()


def _judged(proof: Proof, verdict: Verdict, now: datetime) -> Proof:
    return Proof(verdict, now, looked_at=proof.looked_at)


def _within(length: timedelta, at: datetime | None, now: datetime) -> bool:
    """Whether `at` is less than that far away; a clock gone wrong may have written it in the future."""
    return at is not None and abs(now - at) < length
