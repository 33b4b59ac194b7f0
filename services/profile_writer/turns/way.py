"""One road of a turn while its requests leave: spaced, bounded in flight, listened to."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from services.profile_writer.quota.phase import Phase, phase_seen
from services.profile_writer.quota.proof import Reading
from shared.clock import Clock
from shared.klaviyo.limits import RateLimit


class Way:
    """`closed` once an answer said to send no more this turn; `limit`, `phase`, `readings`: what its answers told."""

    def __init__(self, clock: Clock, starts_at: datetime, spacing_s: float, in_flight_max: int) -> None:
        self._clock, self._slot_at, self._spacing = clock, starts_at, timedelta(seconds=spacing_s)
        self.in_flight = asyncio.Semaphore(in_flight_max)
        self.closed = False
        self.limit: RateLimit | None = None
        self.phase: Phase | None = None
        self.readings: list[Reading] = []

    async def slot(self, over: Callable[[], bool]) -> None:
        """Requests leave at least the spacing apart. After a hold-up they go on at that pace: to catch up would be a
        burst."""
        if (wait_s := (self._slot_at - self._clock.now()).total_seconds()) > 0 and not over():
            await self._clock.sleep(wait_s)
        self._slot_at = max(self._slot_at, self._clock.now()) + self._spacing

    def learn(self, limit: RateLimit, sent_at: datetime) -> None:
        """Each answer tells the limits, and when Klaviyo's minute ends."""
        self.limit, now = limit, self._clock.now()
        if limit.reset_s is not None:
            seen = phase_seen(limit.reset_s, sent_at, now)
            self.phase = seen if self.phase is None else self.phase.narrowed(seen)
        if limit.limit is not None and limit.remaining is not None:
            self.readings.append(Reading(sent_at, now, limit.limit - limit.remaining))
