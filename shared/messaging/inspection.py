"""What the broker says of itself and of our queues, for whoever looks after the system. Changes nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractRobustConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from shared.messaging.broker import broker_outages, connect, declare, open_channel
from shared.messaging.topology import ALL, QueueSpec

_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """One queue. `ready` None: it is not there."""

    name: str
    kind: str
    is_dead: bool
    ready: int | None
    consumers: int


@dataclass(frozen=True, slots=True)
class BrokerSeen:
    """`mismatched`: kinds of jobs whose queues were once declared with other arguments."""

    product: str
    queues: Sequence[QueueSeen]
    mismatched: Sequence[str]


async def look(amqp_url: str, name: str) -> BrokerSeen:
    """The broker and every queue of ours. Raises Outage."""
    with broker_outages():
        async with asyncio.timeout(_TIMEOUT_S), connect(amqp_url, name) as connection:
            queues = [seen for spec in ALL for seen in await _queues(connection, spec)]
            there = {one.kind for one in queues if one.ready is not None}
            mismatched = [spec.name for spec in ALL if spec.name in there and not await _fits(connection, spec)]
            return BrokerSeen(_product(connection), queues, mismatched)


async def _queues(connection: AbstractRobustConnection, spec: QueueSpec) -> list[QueueSeen]:
    seen = []
    for queue in (*spec.queues, spec.dead):
        channel = await open_channel(connection)
        try:
            found = (await channel.declare_queue(queue, passive=True)).declaration_result
        except ChannelNotFoundEntity:
            seen.append(QueueSeen(queue, spec.name, queue == spec.dead, None, 0))
        else:
            ready, consumers = found.message_count or 0, found.consumer_count or 0
            seen.append(QueueSeen(queue, spec.name, queue == spec.dead, ready, consumers))
        finally:
            await channel.close()
    return seen


async def _fits(connection: AbstractRobustConnection, spec: QueueSpec) -> bool:
    """Declaring again what is there changes nothing, or is refused."""
    try:
        await declare(connection, spec)
    except ChannelPreconditionFailed:
        return False
    return True


def _product(connection: AbstractRobustConnection) -> str:
    transport = connection.transport
    said = getattr(getattr(transport, "connection", None), "server_properties", None) or {}
    parts = (said.get("product", "a broker"), said.get("version", ""))
    return " ".join(part.decode() if isinstance(part, bytes) else str(part) for part in parts if part)
