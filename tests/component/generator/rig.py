"""The generator on a real database and broker, with a shop's configuration beside it."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
from aio_pika.abc import AbstractRobustChannel

from services.generator.app import build
from services.generator.settings import Settings
from shared.db.pool import Database, open_database
from shared.messaging.broker import connect, declare, open_channel
from shared.messaging.publisher import Publisher, open_publisher
from shared.messaging.topology import GENERATE, WRITE
from shared.schemas.jobs import Batch, GenerateJob, WriteJob
from tests.support.services import serving
from tests.support.waiting import eventually

AT = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
_KEY = base64.b64encode(bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Rig:
    """What a test of the generator holds in its hands."""

    database_url: str
    amqp_url: str
    database: Database
    publisher: Publisher
    channel: AbstractRobustChannel

    async def send(self, *jobs: GenerateJob) -> None:
        """Put these webhooks into the queue, as one message."""
        await self.publisher.send_jobs(GENERATE, jobs[0].org_id, jobs)

    async def rows(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """What the database answers, seen across orgs."""
        async with self.database.connection() as connection:
            return list(await connection.fetch(sql, *args))

    async def generations(self, number: int) -> list[asyncpg.Record]:
        """All stored generations, once there are this many."""

        async def stored() -> list[asyncpg.Record]:
            rows = await self.rows("SELECT * FROM generations ORDER BY accepted_at, user_id")
            assert len(rows) == number, [dict(row) for row in rows]
            return rows

        return await eventually(stored)

    async def writes(self, at_least: int) -> list[WriteJob]:
        """The profile writes that were asked for since the last call, once there are this many. A batch publishes
        them last, so whoever waits for them knows that all else is done."""
        jobs: list[WriteJob] = []
        queues = [await self.channel.get_queue(name, ensure=False) for name in WRITE.queues]

        async def came() -> bool:
            for queue in queues:
                while (message := await queue.get(no_ack=True, fail=False)) is not None:
                    jobs.extend(Batch[WriteJob].model_validate_json(message.body).jobs)
            return len(jobs) >= at_least

        await eventually(came)
        return jobs

    async def left_over(self) -> tuple[int, list[WriteJob]]:
        """After the generator stopped: messages that it did not finish, and writes that nobody expected."""
        states = [await self.channel.declare_queue(queue, passive=True) for queue in GENERATE.queues]
        unfinished = sum(state.declaration_result.message_count or 0 for state in states)
        return unfinished, await self.writes(at_least=0)

    async def dead_reasons(self) -> list[str]:
        """Why the buried jobs were buried."""
        reasons: list[str] = []
        queue = await self.channel.get_queue(GENERATE.dead, ensure=False)
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            reasons.append(str(message.headers["x-reason"]))
        return reasons


@asynccontextmanager
async def rig(database_url: str, amqp_url: str) -> AsyncIterator[Rig]:
    """Everything but the generator itself; its queues are there."""
    async with (
        open_database(database_url, name="test") as database,
        open_publisher(amqp_url, "test", GENERATE, WRITE) as publisher,
        connect(amqp_url, "test.look") as connection,
    ):
        await declare(connection, GENERATE, WRITE)
        yield Rig(database_url, amqp_url, database, publisher, await open_channel(connection))


@asynccontextmanager
async def running(of: Rig) -> AsyncIterator[None]:
    """One generator, built as its process builds it, from ready until drained."""
    settings = Settings(
        database_url=of.database_url,
        amqp_url=of.amqp_url,
        seal_keys=f"k1:{_KEY}",
        api_key_peppers=f"1:{_KEY}",
    )
    async with AsyncExitStack() as stack:
        service = await build(settings, stack)
        async with serving(service):
            yield


INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, 'Shop', $3)"
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, property_prefix, delay_s, created_at, updated_at)
    VALUES ($1, $2, 'Welcome', $3, $4, 300, $5, $5)
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, version, created_at, updated_at)
    VALUES ($1, $2, $3, $4, 'approved', 1, $5, $5)
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, $3, 'Hello {{ first_name | default: ''there'' }}', 'News', $4, $5)
"""


async def shop(
    of: Rig, *, template_id: str = "welcome", state: str = "active", bodies: Sequence[str] = ("<p>A</p>", "<p>B</p>")
) -> tuple[UUID, list[UUID]]:
    """An org with one template and a variant per body: org id, copy ids."""
    org_id, copy_ids = uuid4(), [uuid4() for _ in bodies]
    async with of.database.connection() as connection:
        await connection.execute(INSERT_ORG, org_id, f"shop-{org_id.hex[:12]}", AT)
        await connection.execute(INSERT_TEMPLATE, org_id, template_id, state, "jai_welcome", AT)
        for copy_id, body in zip(copy_ids, bodies, strict=True):
            await connection.execute(INSERT_VARIANT, org_id, copy_id, template_id, copy_id.hex, AT)
            await connection.execute(INSERT_VERSION, org_id, copy_id, 1, body, AT)
    return org_id, copy_ids
