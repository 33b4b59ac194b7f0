"""Publishing: every message is persistent, mandatory, confirmed, and bounded in time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractRobustConnection
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError

from shared import logs, metrics
from shared.errors import Outage
from shared.messaging import topology, wire
from shared.messaging.broker import broker_outages, connect, declare, open_channel
from shared.messaging.topology import QueueSpec
from shared.schemas.jobs import J, WriteJob, encode_batch

log = logs.get(__name__)

PUBLISH_TIMEOUT_S = 5.0
_REASON_BYTES = 500
_DECLARE_AFTER_S = 1.0


class Publisher:
    """Sends messages to queues by name. Safe for many tasks at once.

    `specs` are the kinds it sends: where the broker has lost one of their queues (an administrator deleted it, a disk
    was replaced), the message is refused, and they are all declared again a second later.
    """

    def __init__(self, connection: AbstractRobustConnection, name: str, *specs: QueueSpec) -> None:
        self._connection, self._name, self._specs = connection, name, specs
        self._sequence = count()
        self._channel: aio_pika.abc.AbstractRobustChannel | None = None
        self._opening = asyncio.Lock()
        self._declaring: asyncio.Task[None] | None = None

    async def ping(self) -> None:
        """Raise Outage where the broker is not connected right now; for readiness."""
        if self._connection.is_closed or not self._connection.connected.is_set():
            raise Outage("the broker is out of reach")

    async def send(self, queue: str, body: bytes, *, headers: dict[str, str | int] | None = None) -> None:
        """Return when the broker has the message on disk. Raises Outage: then its fate is unknown, and the caller
        either repeats it (consumers are idempotent) or promises nothing."""
        if headers:
            await self._publish("", queue, body, headers)
            return
        with outages(queue):
            async with asyncio.timeout(PUBLISH_TIMEOUT_S), self._declaring_what_is_missing():
                channel = await (await self._open()).get_underlay_channel()
                await wire.publish(channel, queue, body, self._next_id())

    async def send_jobs(self, spec: QueueSpec, org_id: UUID, jobs: Sequence[J]) -> None:
        """One confirmed message of jobs of one kind, to the shard of this org."""
        await self.send(spec.queue_for(org_id), encode_batch(jobs))

    async def send_sharded(self, spec: QueueSpec, jobs: Sequence[WriteJob]) -> None:
        """Confirmed messages of jobs of one kind, side by side, one for each shard that their orgs are on. Raises
        Outage: then some of them may be there, and the caller repeats all."""
        by_queue: dict[str, list[WriteJob]] = {}
        for job in jobs:
            by_queue.setdefault(spec.queue_for(job.org_id), []).append(job)
        sends = [self.send(queue, encode_batch(part)) for queue, part in by_queue.items()]
        for ended in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(ended, BaseException):
                if isinstance(ended, Outage):  # the batch is tried again until it goes, and nothing else tells of it
                    metrics.count("publish_failures_total", reason=ended.reason)
                raise ended

    async def send_later(self, queue: str, wait_s: int, body: bytes, *, attempt: int, reason: str) -> None:
        """The message reaches `queue` again after the wait tier's time."""
        headers: dict[str, str | int] = {"wait": wait_s, "x-attempt": attempt, "x-reason": reason[:_REASON_BYTES]}
        await self._publish(topology.WAIT_EXCHANGE, queue, body, headers)

    async def bury(self, spec: QueueSpec, body: bytes, *, queue: str, attempt: int, reason: str, at: str) -> None:
        """The message lies in the dead queue with its reason until somebody replays or drops it."""
        headers: dict[str, str | int] = {
            "x-origin": queue,
            "x-attempt": attempt,
            "x-reason": reason[:_REASON_BYTES],
            "x-dead-at": at,
        }
        await self._publish("", spec.dead, body, headers)

    async def _publish(self, exchange: str, routing_key: str, body: bytes, headers: dict[str, str | int]) -> None:
        message = aio_pika.Message(
            body,
            headers=dict(headers),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=self._next_id(),
        )
        with outages(routing_key):
            async with asyncio.timeout(PUBLISH_TIMEOUT_S), self._declaring_what_is_missing():
                channel = await self._open()
                target = (
                    channel.default_exchange if not exchange else await channel.get_exchange(exchange, ensure=False)
                )
                await target.publish(message, routing_key, mandatory=True)

    @asynccontextmanager
    async def _declaring_what_is_missing(self) -> AsyncIterator[None]:
        """Still raises: whoever has sent in vain repeats it, or promises nothing."""
        try:
            yield
        except (DeliveryError, PublishError, ChannelNotFoundEntity):
            if self._specs and (self._declaring is None or self._declaring.done()):  # one for all who were refused
                self._declaring = asyncio.create_task(self._declare_again(), name="declare queues again")
            raise

    async def _declare_again(self) -> None:
        """Not at once: where a queue was there again in the moment of its end, only one of its two consumers was told
        of it and the other waited for ever (seen once, on 3.10.8; why is not known)."""
        await asyncio.sleep(_DECLARE_AFTER_S)
        log.warning("queues.declared_again", kinds=[spec.name for spec in self._specs])
        with suppress(Outage), broker_outages():
            await declare(self._connection, *self._specs)

    def _next_id(self) -> str:
        """aiormq finds a returned message by it."""
        return f"{self._name}-{next(self._sequence)}"

    async def _open(self) -> aio_pika.abc.AbstractRobustChannel:
        if self._channel is None or self._channel.is_closed:
            async with self._opening:
                if self._channel is None or self._channel.is_closed:
                    self._channel = await open_channel(self._connection)
        return self._channel


@contextmanager
def outages(queue: str) -> Iterator[None]:
    """What comes of publishing, as an Outage."""
    with broker_outages():
        try:
            yield
        except TimeoutError as error:
            raise Outage("no confirm from the broker in time", reason="confirm_timeout") from error
        except (DeliveryError, PublishError) as error:
            raise Outage(f"the broker refused a message for {queue}", reason="publish_refused") from error


@asynccontextmanager
async def open_publisher(amqp_url: str, name: str, *specs: QueueSpec) -> AsyncIterator[Publisher]:
    """A publisher on a connection of its own; the queues it will need are declared first."""
    async with connect(amqp_url, f"{name}.publish") as connection:
        await declare(connection, *specs)
        yield Publisher(connection, name, *specs)


class SeldomPublisher:
    """Each call has a connection of its own: for people, who act seldom, and need no broker until they do."""

    def __init__(self, amqp_url: str, name: str) -> None:
        self._amqp_url, self._name = amqp_url, name

    async def send_jobs(self, spec: QueueSpec, org_id: UUID, jobs: Sequence[J]) -> None:
        """Return when the broker has them. Raises Outage."""
        with outages(spec.name):
            async with open_publisher(self._amqp_url, self._name, spec) as publisher:
                await publisher.send_jobs(spec, org_id, jobs)
