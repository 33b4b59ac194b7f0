"""A consumer takes jobs again: of queues that were deleted, of a process that died, over a channel that is dead."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import aio_pika
import aiormq
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity

from shared import metrics
from shared.errors import Outage
from shared.messaging.broker import connect, open_channel
from shared.messaging.publisher import open_publisher
from tests.component.shared.consuming import ORG, SPEC, Recorder, attached, consuming, consuming_channels, job
from tests.support.waiting import eventually

ORGS = [UUID(int=number) for number in range(8)]  # of both shards


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
    handler = Recorder(lambda *_: None)

    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "died") as died:
        for number in range(10):
            await publisher.send_jobs(SPEC, ORG, [job(f"old {number}")])
        queue = await (await open_channel(died, prefetch=10)).declare_queue(SPEC.queue_for(ORG), passive=True)
        held: list[object] = []
        await queue.consume(held.append, timeout=5)
        await eventually(lambda: len(held) == 10)

    async with consuming(amqp_url, handler):
        await eventually(lambda: len(handler.done) == 10)

    assert handler.sizes == [1] * 10


async def test_jobs_that_came_back_several_times_part_company(amqp_url: str) -> None:
    """So that one which crashes the process does not bury those that the gateway sent together with it."""
    handler = Recorder(lambda *_: None)

    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "died") as died:
        await publisher.send_jobs(SPEC, ORG, [job(f"{number}") for number in range(5)])
        channel = await open_channel(died, prefetch=1)
        queue = await channel.declare_queue(SPEC.queue_for(ORG), passive=True)

        async def handed_out() -> aio_pika.abc.AbstractIncomingMessage:
            message = await queue.get(fail=False)
            assert message is not None  # what was rejected is a moment away
            return message

        for _ in range(4):
            await (await eventually(handed_out)).reject(requeue=True)

    async with consuming(amqp_url, handler):
        await eventually(lambda: sorted(handler.done) == [f"{number}" for number in range(5)])

    assert handler.sizes[0] == 1


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
        for channel in consuming_channels(consumer):
            await harm(channel)
        await publisher.send_jobs(SPEC, ORG, [job("after")])

        await eventually(lambda: "after" in handler.done, within_s=30)


async def test_a_consumer_that_the_broker_forgot_is_counted_once_and_its_neighbour_not(amqp_url: str) -> None:
    handler, before = Recorder(lambda *_: None), _revived()

    async with consuming(amqp_url, handler) as (publisher, consumer):
        await _cancel_behind_its_back(consuming_channels(consumer)[0])
        await eventually(lambda: _revived() > before, within_s=30)
        await eventually(lambda: attached(consumer))
        for org in ORGS:
            await publisher.send_jobs(SPEC, org, [job(f"{org}")])
        await eventually(lambda: len(handler.done) == len(ORGS))

    assert _revived() == before + 1


def _revived() -> float:
    metrics.exposition()
    return metrics.REGISTRY.get_sample_value("jai_consumer_revived_total", {"queue": SPEC.name}) or 0
