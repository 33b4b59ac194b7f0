"""Says in metrics how far sources are behind, how many were given up because of another host key, and how many have
fallen silent: a folder that is listed every minute and stays empty breaks nothing else."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from shared import logs, metrics
from shared.clock import Clock
from shared.stepper import Stepper

log = logs.get(__name__)

LOOK_EVERY = timedelta(minutes=1)


class Counted(Protocol):
    """The sources of all orgs, by their trouble. All raise Outage or Transient."""

    async def count_refused(self) -> int:
        """That are not tried again before somebody has looked."""

    async def count_silent(self, now: datetime) -> int:
        """Without a new file for long."""

    async def lags(self, now: datetime) -> Mapping[tuple[str, ...], float]:
        """By org and source, seconds that it is behind."""


class SilenceWatch(Stepper):
    """A runner. Every replica tells the same numbers."""

    failed = "silence.unknown"

    def __init__(self, sources: Counted, clock: Clock) -> None:
        super().__init__(clock, LOOK_EVERY)
        self._sources = sources

    async def step(self) -> None:
        """See Stepper."""
        metrics.gauge("ingest_refused_sources", await self._sources.count_refused())
        metrics.gauge("ingest_silent_sources", await self._sources.count_silent(self._clock.now()))
        metrics.gauge_each("ingest_source_lag_seconds", await self._sources.lags(self._clock.now()))
