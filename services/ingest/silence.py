"""Says in a metric how many sources have fallen silent: a folder that is listed every minute and stays empty breaks
nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from shared import logs, metrics
from shared.clock import Clock, first_of
from shared.errors import Failure

log = logs.get(__name__)

LOOK_EVERY_S = 300.0


class SilenceWatch:
    """A runner. Every replica tells the same number."""

    def __init__(self, count_silent: Callable[[datetime], Awaitable[int]], clock: Clock) -> None:
        self._count_silent, self._clock = count_silent, clock

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            try:
                metrics.gauge("ingest_silent_sources", await self._count_silent(self._clock.now()))
            except Failure as failure:
                log.warning("silence.unknown", reason=failure.reason)
            await first_of(self._clock.sleep(LOOK_EVERY_S), stop.wait())
