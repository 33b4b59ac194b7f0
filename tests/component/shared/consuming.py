"""A consumer of jobs on a real broker, a handler that remembers, and what to wait for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import aiormq

from shared.clock import FrozenClock
from shared.errors import Outage
from shared.messaging import dead
from shared.messaging.broker import connect
from shared.messaging.consumer import Consumer, Outcome
from shared.messaging.publisher import Publisher, open_publisher
from shared.messaging.topology import QueueSpec, RetryPolicy
from shared.schemas.jobs import GenerateJob
from tests.support.waiting import eventually

ORG = UUID("6f1c1b1e-0000-4000-8000-000000000001")

SPEC = QueueSpec("generate", shards=2, policy=RetryPolicy(waits_s=(5,)))

Answer = Callable[[GenerateJob, int], Outcome]


def job(template_id: str) -> GenerateJob:
    at = FrozenClock().now()
    return GenerateJob(
        org_id=ORG, generation_id=uuid4(), earlier_id=uuid4(), day=at.date(), template_id=template_id, user_id="u",
        tracking_id="u.f.a", accepted_at=at,
    )  # fmt: skip


class Recorder:
    """A handler that answers as told and remembers every try, by template id, and how many jobs came at once."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.tries: list[str] = []
        self.done: list[str] = []
        self.sizes: list[int] = []

    async def __call__(self, jobs: Sequence[GenerateJob]) -> Sequence[Outcome]:
        self.sizes.append(len(jobs))
        outcomes: list[Outcome] = []
        for given in jobs:
            self.tries.append(given.template_id)
            outcome = self._answer(given, self.tries.count(given.template_id))
            outcomes.append(outcome)
            if outcome is None:
                self.done.append(given.template_id)
        return outcomes


@asynccontextmanager
async def consuming(
    amqp_url: str, handler: Recorder, mover: Publisher | None = None
) -> AsyncIterator[tuple[Publisher, Consumer[GenerateJob]]]:
    """`mover`: by which the consumer moves jobs."""
    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "test") as connection:
        takes = Consumer(connection, mover or publisher, SPEC, GenerateJob, handler, FrozenClock())
        stop = asyncio.Event()
        running = asyncio.create_task(takes.run(stop))
        await eventually(lambda: attached(takes))
        try:
            yield publisher, takes
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await running


def consuming_channels(consumer: Consumer[GenerateJob]) -> list[aiormq.Channel]:
    """One for each of its queues; raises AssertionError until each is consumed."""
    transport = consumer._connection.transport
    assert transport is not None
    found = [one for one in transport.connection.channels.values() if isinstance(one, aiormq.Channel) and one.consumers]
    assert len(found) == SPEC.shards
    return found


async def letters(amqp_url: str, count: int) -> Sequence[dead.DeadLetter]:
    """The dead letters, once there are `count`."""

    async def enough() -> tuple[Sequence[dead.DeadLetter]]:
        async with connect(amqp_url, "look") as connection:
            found = await dead.peek(connection, SPEC)
        assert len(found) == count
        return (found,)

    [found] = await eventually(enough, within_s=10)
    return found


async def attached(consumer: Consumer[GenerateJob]) -> bool:
    try:
        await consumer.attached()
    except Outage:
        return False
    return True


async def paused(consumer: Consumer[GenerateJob]) -> bool:
    try:
        await consumer.attached()
    except Outage as outage:
        return "paused" in str(outage)
    return False
