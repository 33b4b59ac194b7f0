"""Answers on a real broker: they find who asked, are bounded, and come back after every kind of loss."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from uuid import uuid4

import pytest

from shared.errors import Outage
from shared.messaging.broker import connect
from shared.messaging.replies import MOST_WAITING, ReplyQueue, ReplySender
from tests.support.link import link_to
from tests.support.waiting import eventually


@asynccontextmanager
async def receiving(amqp_url: str, *, most_s: float = 2) -> AsyncIterator[ReplyQueue]:
    replies, stop = ReplyQueue(amqp_url, "test", token=lambda: uuid4().hex, most_s=most_s), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(replies.run(stop))
        try:
            await eventually(lambda: replies.address is not None)
            yield replies
        finally:
            stop.set()


@pytest.fixture
async def sender(amqp_url: str) -> AsyncIterator[ReplySender]:
    async with connect(amqp_url, "test.send") as connection:
        yield ReplySender(connection)


def address_of(replies: ReplyQueue) -> str:
    assert replies.address is not None
    return replies.address


async def test_an_answer_finds_all_who_asked_for_it_and_nobody_else(amqp_url: str, sender: ReplySender) -> None:
    async with receiving(amqp_url) as replies:
        with replies.expect("a") as first, replies.expect("a") as second, replies.expect("b") as other:
            await sender.send(address_of(replies), "a", b"copy")

            assert (await first, await second) == (b"copy", b"copy")
            assert not other.done()


async def test_an_answer_to_nobody_is_dropped_and_the_next_one_comes(amqp_url: str, sender: ReplySender) -> None:
    async with receiving(amqp_url) as replies:
        await sender.send("reply.of.nobody", "a", b"lost")
        await sender.send(address_of(replies), "late", b"nobody waits")
        with replies.expect("a") as coming:
            await sender.send(address_of(replies), "a", b"copy")
            assert await coming == b"copy"


async def test_too_many_who_wait_are_told_so_before_they_ask(amqp_url: str) -> None:
    async with receiving(amqp_url) as replies:
        with ExitStack() as waiting:
            for number in range(MOST_WAITING):
                assert replies.address is not None
                waiting.enter_context(replies.expect(str(number)))
            assert replies.address is None

        assert replies.address is not None


async def test_who_waits_is_told_at_once_when_the_broker_is_lost_and_it_works_again_after(
    amqp_url: str, sender: ReplySender
) -> None:
    async with link_to(amqp_url) as (link, through), receiving(through) as replies:
        before = address_of(replies)
        with replies.expect("a") as coming:
            link.cut()
            async with asyncio.timeout(5):
                assert await coming is None
        assert replies.address is None

        link.mend()
        await eventually(lambda: replies.address is not None, within_s=15)
        assert replies.address != before
        with replies.expect("a") as coming:
            await sender.send(address_of(replies), "a", b"copy")
            assert await coming == b"copy"


async def test_a_sender_whose_broker_hangs_and_goes_gives_up_and_sends_again_after(amqp_url: str) -> None:
    async with (
        receiving(amqp_url) as replies,
        link_to(amqp_url) as (link, through),
        connect(through, "test.send") as connection,
    ):
        sender = ReplySender(connection)
        await sender.send(address_of(replies), "a", b"the channel is open")
        link.freeze()
        sends = [asyncio.create_task(sender.send(address_of(replies), "a", b"x" * 2_000_000)) for _ in range(20)]
        await asyncio.wait(sends, timeout=0.2)
        link.cut()
        async with asyncio.timeout(10):
            ended = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(end) for end in ended} <= {Outage, type(None)}

        link.mend()
        with replies.expect("b") as coming:

            async def comes() -> bool:
                with suppress(Outage):
                    await sender.send(address_of(replies), "b", b"copy")
                return coming.done()

            await eventually(comes, within_s=20)


async def test_a_slow_asker_fills_neither_the_broker_nor_the_sender(amqp_url: str, sender: ReplySender) -> None:
    sent = 1_500
    async with (
        link_to(amqp_url) as (link, through),
        receiving(through, most_s=60) as replies,
        receiving(amqp_url) as others,
    ):
        address = address_of(replies)
        with ExitStack() as waiting:
            coming = [waiting.enter_context(replies.expect(str(number))) for number in range(sent)]
            link.freeze()
            async with asyncio.timeout(30):
                for number in range(sent):
                    await sender.send(address, str(number), b"x" * 20_000)
                with others.expect("last") as routed:  # what is sent before it on one channel is in its queue by then
                    await sender.send(address_of(others), "last", b"")
                    assert await routed == b""
            link.mend()
            async with asyncio.timeout(30):
                await coming[-1]
            came = sum(one.done() for one in coming)

    assert 64 < came <= 1_000 + 64
