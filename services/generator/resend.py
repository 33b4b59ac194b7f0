"""Asks again for profile writes that a broker without memory has forgotten.

A write job is on its way in the broker alone until the profile writer has taken it. Where the broker comes back empty,
generations are stored whose writes nobody knows of; they are published again, once, from what is stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol
from uuid import UUID

from services.generator.records import Stored
from shared import logs
from shared.clock import Clock, first_of
from shared.errors import Transient
from shared.schemas.jobs import WriteJob

log = logs.get(__name__)

_LOOK_EVERY_S = 3.0  # real
_PAGE = 1_000
_DAY = timedelta(days=1)
_SINCE = timedelta(days=1)  # what is older is asked for only where its email is still ahead

Publish = Callable[[Sequence[WriteJob]], Awaitable[None]]


class Memory(Protocol):
    """What the broker knows of before; both raise Outage."""

    async def lost(self) -> bool: ...
    async def keep(self) -> None: ...


class Unwritten(Protocol):
    """Generations whose write neither waits nor has ended, of one day; both raise Outage."""

    async def longest_delay(self) -> timedelta: ...
    async def unwritten(self, day: date, after: UUID, since: datetime, limit: int) -> Sequence[Stored]: ...


class Resending:
    """`run` until stopped."""

    def __init__(self, memory: Memory, store: Unwritten, publish: Publish, clock: Clock) -> None:
        self._memory, self._store, self._publish, self._clock = memory, store, publish, clock

    async def run(self, stop: asyncio.Event) -> None:
        """A runner. Several at once do no harm: a write that is asked for twice is written once."""
        while not stop.is_set():
            try:
                if await self._memory.lost():
                    log.warning("writes.sent_again", writes=await self._send_again())
                    await self._memory.keep()
            except Transient as error:  # Outage too
                log.warning("writes.not_sent_again", reason=error.reason)
            except Exception as error:  # a runner that ended would end its service
                log.error("writes.not_sent_again", exc_info=error)
            await first_of(stop.wait(), within_s=_LOOK_EVERY_S)

    async def _send_again(self) -> int:
        """How many. The newest day first: most of what was lost is of it, and its emails leave soonest."""
        now = self._clock.now()
        since = now - _SINCE
        oldest = min(since, now - await self._store.longest_delay()).date() - _DAY
        day, sent = now.date() + _DAY, 0  # of a gateway whose clock is ahead
        while day >= oldest:
            sent += await self._send_day(day, since)
            day -= _DAY
        return sent

    async def _send_day(self, day: date, since: datetime) -> int:
        after, sent = UUID(int=0), 0
        while page := await self._store.unwritten(day, after, since, _PAGE):
            if writes := [one.write for one in page if one.write is not None]:
                await self._publish(writes)
            sent, after = sent + len(writes), page[-1].generation_id
        return sent
