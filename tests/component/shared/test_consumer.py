"""The batch consumer on a real broker: what becomes of a job, and that nothing is lost on the way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import aiormq
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

from shared.clock import FrozenClock
from shared.errors import Outage, Permanent, Transient
from shared.messaging import consumer as consumer_module
from shared.messaging import dead
from shared.messaging.broker import connect, open_channel
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
    """A handler that answers as told and remembers every try, by template id."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.tries: list[str] = []
        self.done: list[str] = []

    async def __call__(self, jobs: Sequence[GenerateJob]) -> Sequence[Outcome]:
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
        await eventually(lambda: _attached(takes))
        try:
            yield publisher, takes
        finally:
            stop.set()
            async with asyncio.timeout(10):
                await running


async def letters(amqp_url: str, count: int) -> Sequence[dead.DeadLetter]:
    """The dead letters, once there are `count`."""

    async def enough() -> tuple[Sequence[dead.DeadLetter]]:
        async with connect(amqp_url, "look") as connection:
            found = await dead.peek(connection, SPEC)
        assert len(found) == count
        return (found,)

    [found] = await eventually(enough, within_s=10)
    return found


async def test_a_bad_job_is_buried_with_its_reason_and_its_neighbours_are_done(amqp_url: str) -> None:
    handler = Recorder(lambda j, _: Permanent("no", reason="bad_copy") if j.template_id == "bad" else None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a"), job("bad"), job("b")])
        [letter] = await letters(amqp_url, 1)

    assert handler.done == ["a", "b"]
    assert letter.reason == "bad_copy: no"
    assert letter.origin == SPEC.queue_for(ORG)
    assert b'"bad"' in letter.body
    assert b'"a"' not in letter.body


async def test_a_message_that_cannot_be_read_is_buried_and_the_next_one_is_done(amqp_url: str) -> None:
    handler = Recorder(lambda *_: None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send(SPEC.queue_for(ORG), b"\x00 nonsense")
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        [letter] = await letters(amqp_url, 1)

        await eventually(lambda: _has(handler.done, "a"))
    assert letter.reason.startswith("unreadable")


async def test_a_transient_failure_comes_back_after_its_wait_and_then_gives_up(amqp_url: str) -> None:
    handler = Recorder(lambda j, n: Transient("again") if j.template_id == "never" or n == 1 else None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("heals"), job("never")])
        await eventually(lambda: _has(handler.done, "heals"), within_s=15)
        [letter] = await letters(amqp_url, 1)

    assert handler.tries.count("never") == 2
    assert "gave up after 2 attempts" in letter.reason


async def test_an_exception_in_a_batch_blames_only_the_job_that_raises_it(amqp_url: str) -> None:
    def answer(given: GenerateJob, _: int) -> Outcome:
        if given.template_id == "poison":
            raise ValueError("ann@example.com")
        return None

    handler = Recorder(answer)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a"), job("poison"), job("b")])
        await eventually(lambda: _has(handler.done, "b"))
        [letter] = await letters(amqp_url, 1)

    assert {"a", "b"} <= set(handler.done)
    assert "ValueError" in letter.reason
    assert "ann@example.com" not in letter.reason


async def test_an_outage_holds_the_batch_and_spends_no_attempt(amqp_url: str) -> None:
    down = True

    def answer(_: GenerateJob, __: int) -> Outcome:
        if down:
            raise Outage("the database is away")
        return None

    handler = Recorder(answer)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        await eventually(lambda: _at_least(handler.tries, 3))
        down = False
        await eventually(lambda: _has(handler.done, "a"))

    await letters(amqp_url, 0)


async def test_jobs_in_hand_at_an_outage_go_back_untouched_when_we_stop(amqp_url: str) -> None:
    def answer(_: GenerateJob, __: int) -> Outcome:
        raise Outage("the database is away")

    handler, later = Recorder(answer), Recorder(lambda *_: None)
    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        await eventually(lambda: _at_least(handler.tries, 1))

    async with consuming(amqp_url, later):
        await eventually(lambda: _has(later.done, "a"))


class Unwilling(Publisher):
    """Its broker takes no letter for a while."""

    refusals = 0

    async def bury(self, *args: Any, **more: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Outage("the broker is out of reach")
        await super().bury(*args, **more)


async def test_a_broker_that_is_away_for_long_gets_back_what_was_to_be_moved_and_ends_no_consumer(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_OUTAGE_WAITS_S", (0.01,))
    handler = Recorder(lambda *_: Permanent("no such thing", reason="unknown"))
    async with connect(amqp_url, "unwilling") as connection:
        unwilling = Unwilling(connection, "unwilling", SPEC)
        unwilling.refusals = 2
        async with consuming(amqp_url, handler, unwilling) as (publisher, _):
            await publisher.send_jobs(SPEC, ORG, [job("a")])
            [letter] = await letters(amqp_url, 1)

    assert handler.tries == ["a", "a"]
    assert (unwilling.refusals, letter.attempt) == (0, 1)


async def test_a_mostly_failing_queue_pauses_instead_of_emptying_into_the_dead_letters(amqp_url: str) -> None:
    handler = Recorder(lambda *_: Permanent("all wrong"))

    async with consuming(amqp_url, handler) as (publisher, consumer):
        for _ in range(24):
            await publisher.send_jobs(SPEC, ORG, [job("bad") for _ in range(25)])
        await eventually(lambda: _paused(consumer))

        assert len(handler.tries) < 24 * 25


async def test_a_replayed_letter_is_a_first_attempt_again(amqp_url: str) -> None:
    broken = True
    handler = Recorder(lambda *_: Permanent("broken") if broken else None)

    async with consuming(amqp_url, handler) as (publisher, _):
        await publisher.send_jobs(SPEC, ORG, [job("a")])
        await letters(amqp_url, 1)
        broken = False
        async with connect(amqp_url, "replay") as connection:
            moved = await dead.replay(connection, publisher, SPEC, wanted=lambda letter: "broken" in letter.reason)
        await eventually(lambda: _has(handler.done, "a"))

    assert len(moved) == 1
    await letters(amqp_url, 0)


async def test_publishing_to_a_queue_that_is_not_there_is_never_a_success(amqp_url: str) -> None:
    async with open_publisher(amqp_url, "test", SPEC) as publisher:
        with pytest.raises(Outage) as refused:
            await publisher.send("nowhere", b"{}")

    assert refused.value.reason == "publish_refused"


async def _has(done: list[str], name: str) -> None:
    assert name in done


async def _at_least(tries: list[str], count: int) -> None:
    assert len(tries) >= count


async def _attached(consumer: Consumer[GenerateJob]) -> bool:
    try:
        await consumer.attached()
    except Outage:
        return False
    return True


async def _paused(consumer: Consumer[GenerateJob]) -> bool:
    try:
        await consumer.attached()
    except Outage as outage:
        return "paused" in str(outage)
    return False


async def test_the_oldest_letters_are_looked_at_and_stay(amqp_url: str) -> None:
    handler = Recorder(lambda _, __: Permanent("no", reason="bad_copy"))
    async with consuming(amqp_url, handler) as (publisher, _):
        for name in ("a", "b", "c"):
            await publisher.send_jobs(SPEC, ORG, [job(name)])
        whole = await letters(amqp_url, 3)

    async with connect(amqp_url, "look") as connection:
        oldest = await dead.peek(connection, SPEC, limit=2)
        again = await dead.peek(connection, SPEC)

    assert [one.letter_id for one in oldest] == [one.letter_id for one in whole[:2]]
    assert {one.letter_id for one in again} == {one.letter_id for one in whole}  # the broker puts them back its own way


async def test_a_deleted_queue_is_there_and_consumed_again_within_seconds(amqp_url: str) -> None:
    handler = Recorder(lambda *_: None)

    async with consuming(amqp_url, handler) as (publisher, _), connect(amqp_url, "admin") as admin:
        channel = await admin.channel()
        for name in (*SPEC.queues, SPEC.dead):
            await channel.queue_delete(name)

        async def consumed() -> None:
            with suppress(Outage):  # the first one is refused, and makes the queues be declared
                await publisher.send_jobs(SPEC, ORG, [job("after")])
            assert handler.done

        await eventually(consumed, within_s=20, every_s=0.1)
        await eventually(lambda: _declared(amqp_url, SPEC.dead))


async def test_what_was_in_hand_when_a_process_died_is_taken_one_by_one(amqp_url: str) -> None:
    sizes: list[int] = []
    handler = Recorder(lambda *_: None)

    async def sized(jobs: Sequence[GenerateJob]) -> Sequence[Outcome]:
        sizes.append(len(jobs))
        return await handler(jobs)

    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "died") as died:
        for number in range(10):
            await publisher.send_jobs(SPEC, ORG, [job(f"old {number}")])
        queue = await (await open_channel(died, prefetch=10)).declare_queue(SPEC.queue_for(ORG), passive=True)
        held: list[object] = []
        await queue.consume(held.append, timeout=5)
        await eventually(lambda: len(held) == 10)

    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "test") as connection:
        consumer = Consumer(connection, publisher, SPEC, GenerateJob, sized, FrozenClock())
        stop = asyncio.Event()
        running = asyncio.create_task(consumer.run(stop))
        await eventually(lambda: len(handler.done) == 10)
        assert sizes == [1] * 10
        stop.set()
        await running


async def test_jobs_that_came_back_several_times_part_company(amqp_url: str) -> None:
    """So that one which crashes the process does not bury those that the gateway sent together with it."""
    sizes: list[int] = []
    handler = Recorder(lambda *_: None)

    async def sized(jobs: Sequence[GenerateJob]) -> Sequence[Outcome]:
        sizes.append(len(jobs))
        return await handler(jobs)

    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "died") as died:
        await publisher.send_jobs(SPEC, ORG, [job(f"{number}") for number in range(5)])
        channel = await open_channel(died, prefetch=1)
        queue = await channel.declare_queue(SPEC.queue_for(ORG), passive=True)
        for _ in range(4):
            message = await eventually(lambda: queue.get(fail=False))
            assert message is not None
            await message.reject(requeue=True)

    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "test") as connection:
        consumer = Consumer(connection, publisher, SPEC, GenerateJob, sized, FrozenClock())
        stop = asyncio.Event()
        running = asyncio.create_task(consumer.run(stop))
        await eventually(lambda: sorted(handler.done) == [f"{number}" for number in range(5)])
        assert sizes[0] == 1
        stop.set()
        await running


async def _declared(amqp_url: str, name: str) -> None:
    async with connect(amqp_url, "look") as connection:
        try:
            await (await connection.channel()).declare_queue(name, passive=True)
        except ChannelNotFoundEntity as error:
            raise AssertionError(name) from error


async def _cancel_behind_its_back(channel: aiormq.Channel) -> None:
    """As a broker that forgets a consumer: nobody is told."""
    for tag in [*channel.consumers]:
        await channel.basic_cancel(tag)


async def _close_by_an_error(channel: aiormq.Channel) -> None:
    """As PRECONDITION_FAILED (406) does it."""
    await channel.basic_ack(delivery_tag=999_999)


@pytest.mark.parametrize("harm", [_cancel_behind_its_back, _close_by_an_error])
async def test_a_consumer_whose_channel_is_dead_takes_jobs_again(
    amqp_url: str, harm: Callable[[aiormq.Channel], Awaitable[None]]
) -> None:
    handler = Recorder(lambda *_: None)

    async with consuming(amqp_url, handler) as (publisher, consumer):
        transport = consumer._connection.transport
        assert transport is not None
        channels = [
            one for one in transport.connection.channels.values() if isinstance(one, aiormq.Channel) and one.consumers
        ]
        assert len(channels) == SPEC.shards
        for channel in channels:
            await harm(channel)
        await publisher.send_jobs(SPEC, ORG, [job("after")])

        await eventually(lambda: _has(handler.done, "after"), within_s=30)
