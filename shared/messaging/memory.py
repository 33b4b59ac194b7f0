"""Whether the broker still knows what it was told.

A broker whose disk was lost comes back empty and says nothing about it: queues are declared again, and all looks well.
One more queue, in which nothing ever lies, tells: only who has made up for the loss declares it again.
"""

import asyncio

from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from shared.messaging.broker import open_channel
from shared.messaging.publisher import outages

_TIMEOUT_S = 5.0


class Memory:
    """The sign that what was confirmed before is there. `name` is the queue's."""

    def __init__(self, connection: AbstractRobustConnection, name: str) -> None:
        self._connection, self._name = connection, name
        self._channel: AbstractRobustChannel | None = None

    async def lost(self) -> bool:
        """Whether nobody has made up for the last loss yet, or the broker is new. Raises Outage."""
        with outages(self._name):
            async with asyncio.timeout(_TIMEOUT_S):
                try:
                    await (await self._open()).declare_queue(self._name, passive=True, robust=False)
                except ChannelNotFoundEntity:  # the broker has closed it
                    channel, self._channel = self._channel, None
                    if channel is not None:
                        await channel.close()
                    return True
        return False

    async def keep(self) -> None:
        """Everything that may have been lost was sent again. Raises Outage."""
        with outages(self._name):
            async with asyncio.timeout(_TIMEOUT_S):
                arguments = {"x-queue-type": "quorum"}
                await (await self._open()).declare_queue(self._name, durable=True, robust=False, arguments=arguments)

    async def _open(self) -> AbstractRobustChannel:
        """One for all looks: aio-pika 10.2.1 keeps 4 KB of each that was ever opened on a connection."""
        if self._channel is None or self._channel.is_closed:
            self._channel = await open_channel(self._connection)
        return self._channel
