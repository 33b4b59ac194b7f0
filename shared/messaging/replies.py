"""Answers to whoever waits for a job: best effort, bounded everywhere, and on connections of their own, so that nothing
here can hold up a confirm.

| what goes wrong | what becomes of an answer |
| the asker is gone | its exclusive queue went with its connection: the broker drops the answer |
| the asker is slow | 64 in its hands, then the broker keeps a bounded queue and drops the oldest |
| the asker waits no longer | the broker drops it when its time-to-live ends |
| the broker is away | dropped, never tried again |
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel, AbstractRobustConnection
from pamqp.common import FieldTable

from shared import logs, metrics
from shared.clock import first_of
from shared.messaging.broker import HEARTBEAT_S, broker_outages, lost_lines, unless_away

log = logs.get(__name__)

MOST_WAITING = 1_000
"""Askers of one process at a time; each costs a connection and a future."""

_PREFETCH = 64
_QUEUE_MESSAGES = 1_000
_QUEUE_BYTES = 33_554_432
_CONNECT_TIMEOUT_S = 15
_LOOK_EVERY_S = 5.0  # a queue that somebody deleted is missed, and made anew, within this
_RECONNECT_S = 1.0
_SEND_TIMEOUT_S = 2.0


class ReplyQueue:
    """Where answers come back to this process.

    Each connection has a queue of a new name: an exclusive one cannot be declared again while the broker has not yet
    noticed that its former owner is gone. What is on its way when a connection ends is lost, and nobody waits for it.
    """

    def __init__(self, amqp_url: str, name: str, *, token: Callable[[], str], most_s: float) -> None:
        """`token` makes names that nobody else has; `most_s`: the longest that anybody waits, real seconds."""
        self._amqp_url, self._name, self._token, self._most_s = amqp_url, name, token, most_s
        self._waiting: dict[str, list[asyncio.Future[bytes | None]]] = {}
        self._address: str | None = None
        self._count = 0

    @property
    def address(self) -> str | None:
        """What to put into a job as its reply address; None while no answer could come, or too many wait."""
        return self._address if self._count < MOST_WAITING else None

    @contextmanager
    def expect(self, correlation_id: str) -> "Iterator[asyncio.Future[bytes | None]]":
        """The answer to what is asked inside; None as soon as none can come any more."""
        coming: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(correlation_id, [])
        waiting.append(coming)
        self._count += 1
        try:
            yield coming
        finally:
            self._count -= 1
            waiting.remove(coming)
            if not waiting:
                self._waiting.pop(correlation_id, None)
            coming.cancel()

    async def run(self, stop: asyncio.Event) -> None:
        """Receive until `stop` is set; who waits then still gets an answer if it comes in its time."""
        while not stop.is_set():
            try:
                with lost_lines():
                    await self._receive(stop)
            except Exception as error:  # noqa: BLE001  # a courtesy: nothing about it may end the service
                log.warning("replies.lost", error=type(error).__name__)
            finally:
                self._address = None
                metrics.gauge("reply_queue", 0)
                self._release()
            await first_of(stop.wait(), within_s=_RECONNECT_S)

    async def _receive(self, stop: asyncio.Event) -> None:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connection = await aio_pika.connect(
                self._amqp_url, client_properties={"connection_name": f"{self._name}.replies"}, heartbeat=HEARTBEAT_S
            )
        try:
            lost = asyncio.Event()
            connection.close_callbacks.add(lambda *_: lost.set())
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                channel = await connection.channel(publisher_confirms=False)
                await channel.set_qos(prefetch_count=_PREFETCH)
                address = f"reply.{self._name}.{self._token()}"
                queue = await channel.declare_queue(
                    address, exclusive=True, auto_delete=True, arguments=_bounds(self._most_s)
                )
                await queue.consume(self._came)
            self._address = address
            metrics.gauge("reply_queue", 1)
            while not (stop.is_set() or lost.is_set()):
                await first_of(stop.wait(), lost.wait(), within_s=_LOOK_EVERY_S)
                if not (stop.is_set() or lost.is_set()):
                    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                        await channel.declare_queue(address, passive=True)
            self._address = None
            if not lost.is_set():
                await self._until_nobody_waits()
        finally:
            with unless_away():
                async with asyncio.timeout(5):
                    await connection.close()

    async def _came(self, message: AbstractIncomingMessage) -> None:
        for coming in self._waiting.get(message.correlation_id or "", ()):
            if not coming.done():
                coming.set_result(message.body)
        with unless_away():
            await message.ack()

    async def _until_nobody_waits(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._most_s):
                while self._waiting:
                    await asyncio.wait([coming for waiting in self._waiting.values() for coming in waiting])
                    await asyncio.sleep(0)  # whoever was woken takes itself off the list

    def _release(self) -> None:
        for waiting in self._waiting.values():
            for coming in waiting:
                if not coming.done():
                    coming.set_result(None)


class ReplySender:
    """Sends answers to reply queues. Nothing is confirmed, kept or repeated."""

    def __init__(self, connection: AbstractRobustConnection) -> None:
        self._connection = connection
        self._channel: AbstractRobustChannel | None = None

    async def send(self, address: str, correlation_id: str, body: bytes) -> None:
        """Hand one answer to the broker, who drops it when nobody has this address. Raises Outage."""
        message = aio_pika.Message(
            body,
            content_type="application/json",
            correlation_id=correlation_id,
            delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
        )
        with broker_outages("the broker takes no answers"):
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                channel = await self._open()
                await channel.default_exchange.publish(message, address, mandatory=False)

    async def _open(self) -> AbstractRobustChannel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel(publisher_confirms=False, on_return_raises=False)
        return self._channel


def _bounds(most_s: float) -> FieldTable:
    return {
        "x-queue-type": "classic",  # whatever the virtual host's default is: quorum queues cannot be exclusive
        "x-message-ttl": max(1, int(most_s * 1000)),
        "x-max-length": _QUEUE_MESSAGES,
        "x-max-length-bytes": _QUEUE_BYTES,
        "x-overflow": "drop-head",
    }
