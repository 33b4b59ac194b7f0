"""What a consumer does with a broken batch when it is asked to stop."""

import asyncio
from collections.abc import Sequence

from shared.clock import FrozenClock
from shared.messaging.broker import connect
from shared.messaging.consumer import Consumer, Outcome
from shared.messaging.publisher import open_publisher
from shared.schemas.jobs import GenerateJob
from tests.component.shared.consuming import ORG, SPEC, Recorder, consuming, job
from tests.support.waiting import eventually


async def test_a_broken_batch_is_tried_job_by_job_only_until_we_are_asked_to_stop(amqp_url: str) -> None:
    stop, alone, later = asyncio.Event(), list[str](), Recorder(lambda *_: None)

    async def silent(jobs: Sequence[GenerateJob]) -> Sequence[Outcome]:
        if len(jobs) == 1:
            alone.append(jobs[0].template_id)
            stop.set()
        raise TimeoutError

    async with open_publisher(amqp_url, "test", SPEC) as publisher, connect(amqp_url, "test") as connection:
        await publisher.send_jobs(SPEC, ORG, [job("a"), job("b"), job("c")])
        async with asyncio.timeout(30):
            await Consumer(connection, publisher, SPEC, GenerateJob, silent, FrozenClock()).run(stop)

    assert alone == ["a"]
    async with consuming(amqp_url, later):
        await eventually(lambda: set(later.done) == {"a", "b", "c"}, within_s=30)
