"""Says in metrics how far sources are behind, how many were given up because of another host key, and how many have
fallen silent: a folder that is listed every minute and stays empty breaks nothing else."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from shared import logs, metrics
from shared.clock import Clock, first_of
from shared.errors import Failure

log = logs.get(__name__)

LOOK_EVERY_S = 60.0


class Counted(Protocol):
    """The sources of all orgs, by their trouble. All raise Outage or Transient."""

    async def count_refused(self) -> int:
        """That are not tried again before somebody has looked."""

    async def count_silent(self, now: datetime) -> int:
        """Without a new file for long."""

    async def lags(self, now: datetime) -> Mapping[tuple[str, ...], float]:
        """By org and source, seconds that it is behind."""


class SilenceWatch:
    """A runner. Every replica tells the same numbers."""

    def __init__(self, sources: Counted, clock: Clock) -> None:
        self._sources, self._clock = sources, clock

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            try:
                metrics.gauge("ingest_refused_sources", await self._sources.count_refused())
                metrics.gauge("ingest_silent_sources", await self._sources.count_silent(self._clock.now()))
                metrics.gauge_each("ingest_source_lag_seconds", await self._sources.lags(self._clock.now()))
            except Failure as failure:
                log.warning("silence.unknown", reason=failure.reason)
            await first_of(self._clock.sleep(LOOK_EVERY_S), stop.wait())
