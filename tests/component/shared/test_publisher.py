"""Publishing to a real broker: confirmed means it is there, anything else is an Outage."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from shared import metrics
from shared.errors import Outage
from shared.messaging.broker import connect, open_channel
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import WRITE, QueueSpec
from shared.schemas.jobs import Batch, WriteJob
from tests.support.link import link_to
from tests.support.waiting import eventually

SPEC = QueueSpec("published")


async def bodies(amqp_url: str, queue: str = SPEC.name) -> list[bytes]:
    found = []
    async with connect(amqp_url, "look") as connection:
        channel = await open_channel(connection)
        declared = await channel.declare_queue(queue, passive=True)
        while (message := await declared.get(fail=False, no_ack=True)) is not None:
            assert message.content_type == "application/json"
            assert message.delivery_mode == 2
            found.append(message.body)
    return found


async def test_a_message_of_any_size_arrives_as_it_was_sent(amqp_url: str) -> None:
    sent = [b"{}", os.urandom(131_064), os.urandom(131_065), os.urandom(600_000)]  # one frame holds 131,064

    async with open_publisher(amqp_url, "test", SPEC) as publisher:
        for body in sent:
            await publisher.send(SPEC.name, body)

    assert await bodies(amqp_url) == sent


async def test_many_at_once_are_each_confirmed_also_beside_messages_with_headers(amqp_url: str) -> None:
    plain = [b"plain-%d" % number for number in range(200)]
    late = [b"late-%d" % number for number in range(50)]

    async with open_publisher(amqp_url, "test", SPEC) as publisher, asyncio.TaskGroup() as sending:
        for body in plain:
            sending.create_task(publisher.send(SPEC.name, body))
        for body in late:
            sending.create_task(publisher.send(SPEC.name, body, headers={"x-attempt": 2}))

    assert sorted(await bodies(amqp_url)) == sorted([*plain, *late])


async def test_the_jobs_of_several_orgs_go_to_their_own_shards(amqp_url: str) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    jobs = [
        WriteJob(
            org_id=UUID(int=number % 20), generation_id=UUID(int=number), day=at.date(), profile_id="01PERSON",
            prefix="jai", action="write", accepted_at=at, deadline_at=at,
        )
        for number in range(100)
    ]  # fmt: skip

    async with open_publisher(amqp_url, "test", WRITE) as publisher:
        await publisher.send_sharded(WRITE, jobs)

    found = [
        (queue, job) for queue in WRITE.queues for body in await bodies(amqp_url, queue)
        for job in Batch[WriteJob].model_validate_json(body).jobs
    ]  # fmt: skip
    assert sorted((job for _, job in found), key=lambda job: job.generation_id) == jobs
    assert all(queue == WRITE.queue_for(job.org_id) for queue, job in found)


def refused() -> float:
    """Publishes that the broker refused, as Prometheus is told."""
    metrics.exposition()
    return metrics.REGISTRY.get_sample_value("jai_publish_failures_total", {"reason": "publish_refused"}) or 0.0


async def test_a_shard_that_does_not_take_its_part_is_an_outage_and_is_counted(amqp_url: str) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    job = WriteJob(
        org_id=UUID(int=1), generation_id=UUID(int=2), day=at.date(), profile_id="01PERSON", prefix="jai",
        action="write", accepted_at=at, deadline_at=at,
    )  # fmt: skip

    before = refused()
    async with open_publisher(amqp_url, "test", SPEC) as publisher:
        with pytest.raises(Outage):
            await publisher.send_sharded(WRITE, [job])

    assert refused() == before + 1


async def test_a_message_to_a_missing_queue_is_no_success(amqp_url: str) -> None:
    async with open_publisher(amqp_url, "test", SPEC) as publisher:
        with pytest.raises(Outage) as raised:
            await publisher.send("nowhere", b"{}")
        await publisher.send(SPEC.name, b"{}")

    assert raised.value.reason == "publish_refused"
    assert await bodies(amqp_url) == [b"{}"]


async def test_a_cancelled_sender_disturbs_no_other(amqp_url: str) -> None:
    async with open_publisher(amqp_url, "test", SPEC) as publisher:
        doomed = [asyncio.create_task(publisher.send(SPEC.name, b"doomed")) for _ in range(40)]
        await asyncio.sleep(0)
        for task in doomed[::2]:
            task.cancel()
        others = [asyncio.create_task(publisher.send(SPEC.name, b"other")) for _ in range(40)]

        results = await asyncio.gather(*doomed, *others, return_exceptions=True)

    assert all(isinstance(result, asyncio.CancelledError | None) for result in results)
    found = await bodies(amqp_url)
    assert found.count(b"other") == 40
    assert found.count(b"doomed") >= 20


async def test_a_lost_connection_fails_what_is_under_way_and_later_messages_go(amqp_url: str) -> None:
    async with link_to(amqp_url) as (link, url), open_publisher(url, "test", SPEC) as publisher:
        await publisher.send(SPEC.name, b"before")
        link.freeze()
        under_way = asyncio.create_task(publisher.send(SPEC.name, b"unknown"))
        await eventually(lambda: under_way.get_stack())  # it waits for its confirm
        link.cut()
        with pytest.raises(Outage):
            await under_way
        link.mend()

        async def sent() -> bool:
            try:
                await publisher.send(SPEC.name, b"after")
            except Outage:
                return False
            return True

        await eventually(sent, within_s=20)

    assert set(await bodies(amqp_url)) - {b"unknown"} == {b"before", b"after"}


async def test_a_broker_that_reads_no_more_does_not_fill_our_memory(amqp_url: str) -> None:
    async with link_to(amqp_url) as (link, url), open_publisher(url, "test", SPEC) as publisher:
        await publisher.send(SPEC.name, b"before")
        link.freeze()
        waiting = [asyncio.create_task(publisher.send(SPEC.name, bytes(500_000))) for _ in range(200)]

        results = await asyncio.gather(*waiting, return_exceptions=True)
        channel: Any = await (await publisher._open()).get_underlay_channel()
        unconfirmed = len(channel.confirmations)
        link.cut()

    assert all(isinstance(result, Outage) for result in results)
    assert unconfirmed < 50
