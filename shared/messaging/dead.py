"""Dead letters: look at them, and send them round again once the cause is mended."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b

from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from shared.messaging.broker import broker_outages, connect, open_channel
from shared.messaging.publisher import Publisher
from shared.messaging.topology import QueueSpec

_TAKE_TIMEOUT_S = 10.0
_QUIET_S = 1.0  # nothing comes for so long: there is no more


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One buried message. `letter_id` is a digest of it, the same at every look; `reason` is ours, or `delivery_limit`
    when the broker gave up on it (it crashed us)."""

    letter_id: str
    origin: str
    reason: str
    attempt: int
    dead_at: str
    body: bytes


Wanted = Callable[[DeadLetter], bool]


async def peek(connection: AbstractRobustConnection, spec: QueueSpec, *, limit: int = 100) -> Sequence[DeadLetter]:
    """The oldest dead letters of one kind; they stay where they are."""
    channel = await open_channel(connection, confirms=False)
    try:
        held = await _take(channel, spec, limit)
        return [_letter(message, spec) for message in held]
    finally:
        await channel.close()  # whatever was held goes back


async def replay(
    connection: AbstractRobustConnection, publisher: Publisher, spec: QueueSpec, *, wanted: Wanted, limit: int = 1000
) -> Sequence[DeadLetter]:
    """Publish the wanted letters to the queue they came from, as first attempts; each is acked only once the broker
    has the copy. Ids are unchanged, so a job that was done after all is done once. Returns what was replayed."""
    channel = await open_channel(connection)
    replayed: list[DeadLetter] = []
    try:
        for message in await _take(channel, spec, limit):
            letter = _letter(message, spec)
            if not wanted(letter):
                continue
            await publisher.send(letter.origin, letter.body)
            await message.ack()
            replayed.append(letter)
    finally:
        await channel.close()
    return replayed


class Graveyard:
    """The dead letters of a broker; each call has a connection of its own, since people look seldom."""

    def __init__(self, amqp_url: str, name: str) -> None:
        self._amqp_url, self._name = amqp_url, name

    async def peek(self, *specs: QueueSpec, limit: int) -> Mapping[str, Sequence[DeadLetter]]:
        """The oldest of each of these kinds, by its name; they stay where they are. Raises Outage."""
        with broker_outages():
            async with connect(self._amqp_url, self._name) as connection:
                found = await asyncio.gather(*(peek(connection, spec, limit=limit) for spec in specs))
        return {spec.name: letters for spec, letters in zip(specs, found, strict=True)}

    async def replay(self, spec: QueueSpec, *, wanted: Wanted, limit: int) -> Sequence[DeadLetter]:
        """Send the wanted ones round again; returns them. Raises Outage."""
        with broker_outages():
            async with connect(self._amqp_url, self._name) as connection:
                return await replay(connection, Publisher(connection, self._name), spec, wanted=wanted, limit=limit)


async def _take(channel: AbstractRobustChannel, spec: QueueSpec, limit: int) -> list[AbstractIncomingMessage]:
    """The oldest, held by the channel. They are streamed: asking for each by itself takes a round trip a letter."""
    held: list[AbstractIncomingMessage] = []
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    async with asyncio.timeout(_TAKE_TIMEOUT_S):
        try:
            queue = await channel.declare_queue(spec.dead, passive=True)
        except ChannelNotFoundEntity:  # no service of that kind has started yet
            return held
        wanted = min(limit, queue.declaration_result.message_count or 0)
        if not wanted:
            return held
        await channel.set_qos(prefetch_count=wanted)
        tag = await queue.consume(arrived.put)
        with suppress(TimeoutError):  # somebody else who looks holds the others
            while len(held) < wanted:
                held.append(await _next(arrived))
        await queue.cancel(tag)
    return held


async def _next(arrived: asyncio.Queue[AbstractIncomingMessage]) -> AbstractIncomingMessage:
    """What came, at once where it is there already: a timer for each costs more than its bytes."""
    if not arrived.empty():
        return arrived.get_nowait()
    async with asyncio.timeout(_QUIET_S):
        return await arrived.get()


def _letter(message: AbstractIncomingMessage, spec: QueueSpec) -> DeadLetter:
    headers = message.headers
    deaths = headers.get("x-death")
    broker = deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}
    # Whom the broker gave up on may carry the reason of an earlier wait; what we bury says where it came from.
    reasons = (headers.get("x-reason"), broker.get("reason"))
    first, second = reasons if "x-origin" in headers else reasons[::-1]
    return DeadLetter(
        letter_id=_letter_id(message),
        origin=str(headers.get("x-origin") or broker.get("queue") or spec.queues[0]),
        reason=str(first or second or "unknown"),
        attempt=int(str(headers.get("x-attempt", 1))),
        dead_at=str(headers.get("x-dead-at") or broker.get("time") or ""),
        body=message.body,
    )


def _letter_id(message: AbstractIncomingMessage) -> str:
    """Message ids are counted anew by every process, so several letters may share one."""
    parts = (message.message_id or "", str(message.headers.get("x-dead-at", "")))
    return blake2b("\n".join(parts).encode() + b"\n" + message.body, digest_size=6).hexdigest()
