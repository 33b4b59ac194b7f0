"""Says in metrics how far sources are behind, and how many have fallen silent: a folder that is listed every minute and
stays empty breaks nothing else."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from shared import logs, metrics
from shared.clock import Clock, first_of
from shared.errors import Failure

log = logs.get(__name__)

LOOK_EVERY_S = 60.0


class SilenceWatch:
    """A runner. Every replica tells the same numbers."""

    def __init__(
        self,
        count_silent: Callable[[datetime], Awaitable[int]],
        lags: Callable[[datetime], Awaitable[Mapping[tuple[str, ...], float]]],
        clock: Clock,
    ) -> None:
        self._count_silent, self._lags, self._clock = count_silent, lags, clock

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            try:
                metrics.gauge("ingest_silent_sources", await self._count_silent(self._clock.now()))
                metrics.gauge_each("ingest_source_lag_seconds", await self._lags(self._clock.now()))
            except Failure as failure:
                log.warning("silence.unknown", reason=failure.reason)
            await first_of(self._clock.sleep(LOOK_EVERY_S), stop.wait())
