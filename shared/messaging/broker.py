"""Connections and channels to RabbitMQ; the one place where a channel is opened and a queue declared."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import aio_pika
from aio_pika import RobustConnection
from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection, AbstractRobustQueue
from aio_pika.connection import make_url
from aio_pika.exceptions import AMQPError, InvalidFrameError

from shared.errors import Outage
from shared.messaging import topology
from shared.messaging.topology import QueueSpec

HEARTBEAT_S = 7
"""A line that swallows everything is given up after three times that and a little: aiormq waits (7 + 1) * 3 = 24 s,
and looks every 3."""

AWAY = (AMQPError, OSError, RuntimeError)
"""What the client library raises where the broker, the line to it or a channel is away: time limits are OSErrors, a
closed channel is a RuntimeError. The rest is made an OSError by `lost_lines`."""

_ATTEMPT_TIMEOUT_S = 5
"""For each attempt to connect, the later ones too: a handshake that is swallowed has no heartbeats yet."""

_LOST = "the line to the broker was lost while something waited on it"
_CONNECT_TIMEOUT_S = 15
_DECLARE_TIMEOUT_S = 15

# Looking at a dead letter is a delivery too; RabbitMQ 4 would drop it after 20 looks by default.
_DEAD_ARGUMENTS: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}


@asynccontextmanager
async def connect(amqp_url: str, name: str) -> AsyncIterator[AbstractRobustConnection]:
    """One connection that heals itself. Publishing and consuming each get their own: an alarm in the broker
    blocks everything that a publishing connection sends, acks included."""
    connection = RobustConnection(
        make_url(amqp_url, heartbeat=HEARTBEAT_S), client_properties={"connection_name": name}, reconnect_interval=1
    )
    try:
        await _enter(connection)
        yield connection
    finally:  # also where the first attempt came to nothing: what nobody closes goes on trying, and outlives a stop
        try:
            async with asyncio.timeout(5):
                await connection.close()
        except TimeoutError:
            pass  # a frozen broker answers no farewell; the socket closes with the process


async def _enter(connection: AbstractRobustConnection) -> None:
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await connection.connect(timeout=_ATTEMPT_TIMEOUT_S)
    except InvalidFrameError as error:  # how the library reports that opening the virtual host was answered by a close
        raise Outage(
            "the broker does not let us in: does the virtual host exist, and may this user use it?",
            reason="broker_refused",
        ) from error


@contextmanager
def broker_outages(what: str = "the broker is out of reach") -> Iterator[None]:
    """All of that as an Outage."""
    try:
        with lost_lines():
            yield
    except AWAY as error:
        raise Outage(what, reason="broker_unreachable") from error


@contextmanager
def lost_lines() -> Iterator[None]:
    """Raises ConnectionResetError where a wait inside was cancelled and nobody cancelled us, or ended with an error
    that says nothing: with that the library ends all waits where the broker closes the line behind other frames."""
    try:
        yield
    except asyncio.CancelledError as error:
        if meant():
            raise
        raise ConnectionResetError(_LOST) from error
    except Exception as error:
        if type(error) is Exception:
            raise ConnectionResetError(_LOST) from error
        raise


@contextmanager
def unless_away() -> Iterator[None]:
    """Done where the broker is there; what it was for, a lost line or channel has settled as well."""
    with suppress(*AWAY), lost_lines():
        yield


def meant() -> bool:
    """Whether this task was told to end. The client library cancels what waits on a line that has fallen silent, which
    looks the same from here: it would end a runner that nobody misses, for a group takes it for a task that was told
    to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def open_channel(
    connection: AbstractRobustConnection, *, prefetch: int | None = None, confirms: bool = True
) -> AbstractRobustChannel:
    """A channel with confirms on and returns raised: without the latter, publishing to a missing queue
    succeeds silently (measured on aio-pika 10.2.1). Who only looks can do without `confirms`."""
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        channel = await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        if prefetch is not None:
            await channel.set_qos(prefetch_count=prefetch)
    return channel


async def declare(connection: AbstractRobustConnection, *specs: QueueSpec) -> None:
    """Declare the queues of these kinds with their dead and wait queues. Safe to repeat, by any number of processes."""
    channel = await open_channel(connection)
    try:
        async with asyncio.timeout(_DECLARE_TIMEOUT_S):
            await _declare_waits(channel)
            for spec in specs:
                await channel.declare_queue(spec.dead, durable=True, robust=False, arguments=_DEAD_ARGUMENTS)
                for queue in spec.queues:
                    await declare_shard(channel, spec, queue, robust=False)
    finally:
        await channel.close()


async def declare_shard(
    channel: AbstractRobustChannel, spec: QueueSpec, queue: str, *, robust: bool = True
) -> AbstractRobustQueue:
    """One of a kind's queues. A robust one is declared again whenever its connection or its consumer is lost, so that
    it is consumed even where the broker has forgotten it."""
    arguments = _safe_dead_lettering("", spec.dead) | {"x-delivery-limit": topology.DELIVERY_LIMIT}
    return await channel.declare_queue(queue, durable=True, robust=robust, arguments=arguments)


async def _declare_waits(channel: AbstractRobustChannel) -> None:
    exchange = await channel.declare_exchange(
        topology.WAIT_EXCHANGE, aio_pika.ExchangeType.HEADERS, durable=True, robust=False
    )
    for wait_s in topology.wait_tiers():
        name = topology.wait_queue(wait_s)
        # No dead-letter routing key: the message keeps its own, which is the queue it came from.
        arguments = _safe_dead_lettering("", None) | {"x-message-ttl": wait_s * 1000}
        queue = await channel.declare_queue(name, durable=True, robust=False, arguments=arguments)
        await queue.bind(exchange, arguments={"x-match": "all", "wait": wait_s}, robust=False)


def _safe_dead_lettering(exchange: str, routing_key: str | None) -> dict[str, str | int]:
    """The broker's own hand-over between queues is at-most-once unless all three of these are set."""
    arguments: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    if routing_key is not None:
        arguments["x-dead-letter-routing-key"] = routing_key
    return arguments
