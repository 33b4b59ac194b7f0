"""A line to the broker that falls silent: the library cancels what waits on it, which ends none of our tasks."""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiormq
import pytest
from aio_pika.abc import AbstractRobustConnection

from shared.errors import Outage, Permanent
from shared.messaging.consumer import Consumer
from shared.messaging.gather import Gather
from shared.messaging.publisher import open_publisher
from shared.schemas.jobs import GenerateJob
from tests.component.shared.consuming import ORG, SPEC, Recorder, attached, consuming, consuming_channels, job, letters
from tests.support.link import link_to
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)


async def give_up(connection: AbstractRobustConnection) -> None:
    """As the library does after missed heartbeats, without the half minute before it: who reads the line is cancelled,
    then its writer, and with that word all who wait."""
    assert connection.transport is not None
    line = connection.transport.connection
    assert isinstance(line, aiormq.Connection)
    tasks: list[Any] = [line._reader_task, line._writer_task]
    tasks[0].cancel()
    await asyncio.wait(tasks)
    await line.close(asyncio.CancelledError())


async def test_who_waits_for_a_confirm_in_a_gathered_batch_is_told(amqp_url: str) -> None:
    async with link_to(amqp_url) as (link, through), open_publisher(through, "test", SPEC) as publisher:

        async def handle(jobs: Sequence[GenerateJob]) -> Sequence[Exception | None]:
            await publisher.send_jobs(SPEC, ORG, jobs)
            return [None] * len(jobs)

        gather = Gather(handle, most_jobs=1, at_once=1)
        await gather([job("the channel is open")])
        link.freeze()
        calls = [asyncio.create_task(gather([job(name)])) for name in ("in hand", "behind it")]
        await asyncio.wait(calls, timeout=0.2)
        async with asyncio.timeout(30):
            await give_up(publisher._connection)
            ended = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(end) for end in ended] == [Outage, Outage]
        assert {end.reason for end in ended if isinstance(end, Outage)} == {"broker_unreachable"}


async def test_a_consumer_that_is_forgotten_after_the_line_was_silent_is_revived(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, asked = Recorder(lambda *_: None), asyncio.Event()

    async with (
        link_to(amqp_url) as (link, through),
        consuming(through, handler) as (_, consumer),
        open_publisher(amqp_url, "test.beside", SPEC) as publisher,
    ):
        watchdog = consumer._watchdog
        dead = watchdog.dead

        async def asks(queue: str) -> bool:
            asked.set()
            return await dead(queue)

        await eventually(lambda: watchdog._channel is not None)
        link.freeze()
        monkeypatch.setattr(watchdog, "dead", asks)
        async with asyncio.timeout(30):
            await asked.wait()
            await give_up(consumer._connection)
        link.mend()

        await eventually(lambda: _watched(consumer))
        for channel in await eventually(lambda: consuming_channels(consumer)):
            for tag in [*channel.consumers]:
                await channel.basic_cancel(tag)  # nobody is told
        await publisher.send_jobs(SPEC, ORG, [job("after")])
        await eventually(lambda: "after" in handler.done)


async def test_a_shard_whose_move_was_cut_off_moves_it_and_consumes_again(amqp_url: str) -> None:
    handler = Recorder(lambda given, _: Permanent("no", reason="refused") if given.template_id == "bad" else None)

    async with (
        link_to(amqp_url) as (link, through),
        open_publisher(through, "test.move", SPEC) as mover,
        consuming(amqp_url, handler, mover) as (publisher, consumer),
    ):
        await mover.send_jobs(SPEC, ORG, [job("the channel is open")])
        await eventually(lambda: "the channel is open" in handler.done)
        link.freeze()
        await publisher.send_jobs(SPEC, ORG, [job("bad")])
        await eventually(lambda: "bad" in handler.tries)
        async with asyncio.timeout(30):
            await give_up(mover._connection)
        link.mend()

        [letter] = await letters(amqp_url, 1)
        assert "refused" in letter.reason
        await publisher.send_jobs(SPEC, ORG, [job("after")])
        await eventually(lambda: "after" in handler.done)
        assert await attached(consumer)


async def _watched(consumer: Consumer[GenerateJob]) -> bool:
    """It consumes, and is looked after."""
    names = [task.get_name() for task in asyncio.all_tasks() if not task.done()]
    return await attached(consumer) and f"watch {SPEC.name}" in names
