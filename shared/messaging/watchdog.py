"""Whether a consumer that thinks that it consumes is given anything.

A channel that was closed, or a consumer that was cancelled, comes back by itself (aio-pika's robust channels). Where
that fails no error reaches anybody: the process lives, its connection beats, and nothing comes. So whoever waits in
vain asks the broker.
"""

import asyncio
from collections import Counter

from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from shared.messaging.broker import AWAY, lost_lines, unless_away

LOOK_EVERY_S = 2.0

_LOOKS = 2  # in a row; what was published between a look and its answer is on its way
_LOOK_S = 5.0


class Watchdog:
    """Of one consumer's queues. `dead` is asked by one task, while nothing is in hand; `fed` when something came."""

    def __init__(self, connection: AbstractRobustConnection) -> None:
        self._connection = connection
        self._channel: AbstractRobustChannel | None = None
        self._in_vain: Counter[str] = Counter()

    def fed(self, queue: str) -> None:
        """A message of this queue came."""
        self._in_vain[queue] = 0

    async def dead(self, queue: str) -> bool:
        """Whether this queue has to be consumed anew: look after look messages lie in it and none is given to us, or
        nobody consumes it, or it is not there. False where the broker cannot be asked."""
        try:
            with lost_lines():
                async with asyncio.timeout(_LOOK_S):
                    if self._channel is None or self._channel.is_closed:
                        self._channel = await self._connection.channel(publisher_confirms=False)
                    found = (await self._channel.declare_queue(queue, passive=True, robust=False)).declaration_result
                    in_vain = bool(found.message_count) or not found.consumer_count
        except ChannelNotFoundEntity:
            await self._give_up()
            in_vain = True
        except AWAY:
            await self._give_up()
            in_vain = False
        self._in_vain[queue] = self._in_vain[queue] + 1 if in_vain else 0
        if self._in_vain[queue] < _LOOKS:
            return False
        self._in_vain[queue] = 0
        return True

    async def _give_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            with unless_away():
                async with asyncio.timeout(_LOOK_S):
                    await channel.close()
