"""Things that happen later on the box's clock, without anyone waiting for them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from shared.clock import Clock

log = logging.getLogger("simulator.deferred")


class Deferred:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def at(self, moment: datetime, act: Callable[[], Awaitable[None]]) -> None:
        """Run `act` when the clock reaches `moment`."""
        task = asyncio.get_running_loop().create_task(self._run(moment, act))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _run(self, moment: datetime, act: Callable[[], Awaitable[None]]) -> None:
        await self._clock.sleep((moment - self._clock.now()).total_seconds())
        await act()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("deferred.failed", exc_info=error)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
