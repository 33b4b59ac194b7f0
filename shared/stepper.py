"""What a service does again and again beside its jobs. Replicas may do it at once: claims and locks keep them apart."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
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


async def one_after_another(
    look: Callable[[], Awaitable[bool]], stop: asyncio.Event, clock: Clock, tick_s: float, failed: str
) -> None:
    """What claims one thing after the other: `look` says whether there was one; where not, or where it failed, it rests
    (virtual seconds). Unlike a Stepper's, what is in hand at `stop` is left: whoever claims it next does it again."""
    while not stop.is_set():
        try:
            done, looked = await _before(stop, look())
        except Failure as error:
            log.warning(failed, reason=error.reason)
            done, looked = True, False
        except Exception as error:  # as above
            log.error(failed, exc_info=error)
            done, looked = True, False
        if done and not looked:
            await first_of(clock.sleep(tick_s), stop.wait())


async def _before(stop: asyncio.Event, work: Awaitable[bool]) -> tuple[bool, bool]:
    """Whether the work came to an end before `stop` was set, and what it said."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return (True, task.result()) if task.done() else (False, False)
    finally:
        for one in (task, stopping):
            one.cancel()
        await asyncio.wait({task, stopping})
