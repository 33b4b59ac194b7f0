"""One road of a turn while its requests leave: spaced, bounded in flight, listened to."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from services.profile_writer.quota.phase import Phase, phase_seen
from services.profile_writer.quota.proof import Reading
from services.profile_writer.quota.standing import answered, is_lost
from shared.clock import Clock
from shared.errors import Failure
from shared.klaviyo.limits import RateLimit

_LOST_IN_A_ROW = 5
"""So many calls without a useful answer, one after the other, and the rest of the turn stays here: each may have been
applied and is sent again. What is left goes with the next turn, at once where anything of this one was answered."""


class Way:
    """`closed` once answers said to send no more this turn; `limit`, `phase`, `readings`: what its answers told."""

    def __init__(self, clock: Clock, starts_at: datetime, spacing_s: float, in_flight_max: int) -> None:
        self._clock, self._slot_at, self._spacing = clock, starts_at, timedelta(seconds=spacing_s)
        self.in_flight = asyncio.Semaphore(in_flight_max)
        self.closed = False
        self._lost_in_a_row = 0
        self.limit: RateLimit | None = None
        self.phase: Phase | None = None
        self.readings: list[Reading] = []

    async def slot(self, over: Callable[[], bool]) -> None:
        """Requests leave at least the spacing apart. After a hold-up they go on at that pace: to catch up would be a
        burst."""
        if (wait_s := (self._slot_at - self._clock.now()).total_seconds()) > 0 and not over():
            await self._clock.sleep(wait_s)
        self._slot_at = max(self._slot_at, self._clock.now()) + self._spacing

    def heard(self, result: Failure | None) -> None:
        """The end of each call, in the order in which they end."""
        if answered(result):
            self._lost_in_a_row = 0
        elif is_lost(result):
            self._lost_in_a_row += 1
            self.closed = self.closed or self._lost_in_a_row >= _LOST_IN_A_ROW

    def learn(self, limit: RateLimit, sent_at: datetime) -> None:
        """Each answer tells the limits, and when Klaviyo's minute ends."""
        self.limit, now = limit, self._clock.now()
        if limit.reset_s is not None:
            seen = phase_seen(limit.reset_s, sent_at, now)
            self.phase = seen if self.phase is None else self.phase.narrowed(seen)
        if limit.limit is not None and limit.remaining is not None:
            self.readings.append(Reading(sent_at, now, limit.limit - limit.remaining))
