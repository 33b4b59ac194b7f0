"""What a service does again and again beside its jobs. Replicas may do it at once: claims and locks keep them apart."""

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import ClassVar

from shared import logs
from shared.clock import Clock, first_of
from shared.errors import Failure

log = logs.get(__name__)


class Stepper(ABC):
    """A runner that takes one step after the other. `failed`: what the log says of one that went wrong."""

    failed: ClassVar[str]

    def __init__(self, clock: Clock, tick: timedelta) -> None:
        self._clock, self._tick = clock, tick

    @abstractmethod
    async def step(self) -> timedelta | None:
        """One thing that is due, and how long to rest then; None where nothing is. Raises Failure."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is in hand is finished."""
        while not stop.is_set():
            rest = None
            try:
                rest = await self.step()
            except Failure as error:
                log.warning(self.failed, reason=error.reason)
            except Exception as error:  # of one org's rows, say; a runner that ended would end its service
                log.error(self.failed, exc_info=error)
            if rest is None or rest:
                await first_of(self._clock.sleep((self._tick if rest is None else rest).total_seconds()), stop.wait())


AT_ONCE = timedelta(0)
"""The rest after a step behind which there may be another."""
