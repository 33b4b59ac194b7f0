"""The gateway as it ships, on a real broker and database, with two orgs beside it."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from devstack.ports import LOOPBACK, free_ports
from services.gateway.app import build
from services.gateway.settings import Settings
from shared import api_keys
from shared.clock import FrozenClock
from shared.db.pool import Database, open_database
from shared.messaging.broker import connect, open_channel
from shared.messaging.topology import GENERATE
from shared.schemas.jobs import Batch, GenerateJob
from tests.support.waiting import eventually

NOW = FrozenClock().now()
_KEY = base64.b64encode(bytes(32)).decode()
PEPPERS = api_keys.Peppers(f"1:{_KEY}")
USER = "01HZX3V8J5Q2W9N4K7M6P0R1ST"

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $2, $3)"
INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, scopes, created_at, expires_at)
    VALUES ($1, $2, 'webhook', '…', $3, $4, $5, $6, $7)
"""
INSERT_FLOW = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, synced_at)
    VALUES ($1, $2, 'Welcome', 'live', 'A1', 'M1', 'Email', $3)
"""
INSERT_REFUSED = """
    INSERT INTO refused_webhooks (org_id, day, flow_id, code, webhooks, last_at)
    VALUES ($1, ($2::timestamptz AT TIME ZONE 'UTC')::date, '', 'not_json', $3, $2)
"""
SELECT_REFUSED = """
    SELECT slug, flow_id, code, sum(webhooks)::int AS webhooks FROM refused_webhooks JOIN orgs USING (org_id)
    GROUP BY slug, flow_id, code
"""


@dataclass
class Rig:
    """One gateway, two orgs."""

    url: str
    database_url: str
    db: Database
    amqp_url: str
    http: aiohttp.ClientSession
    acme: UUID
    other: UUID

    async def new_key(self, org_id: UUID, **given: Any) -> str:
        key = api_keys.mint(os.urandom)
        pepper, digest = PEPPERS.digest(key)
        async with self.db.transaction() as connection:
            await connection.execute(
                INSERT_KEY, uuid4(), org_id, digest, pepper, given.get("scopes", ["generate"]), NOW,
                given.get("expires_at"),
            )  # fmt: skip
        return key

    async def post(
        self,
        key: str | None,
        body: bytes | None = None,
        *,
        slug: str = "acme",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        sent = {"Content-Type": "application/json", **({"X-Api-Key": key} if key else {}), **(headers or {})}
        data = webhook() if body is None else body
        async with self.http.post(f"{self.url}/api/generate/{slug}", data=data, headers=sent) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers

    async def new_flow(self, org_id: UUID, flow_id: str) -> None:
        """One that was read from the org's Klaviyo account."""
        async with self.db.transaction() as connection:
            await connection.execute(INSERT_FLOW, org_id, flow_id, NOW)

    async def refused_before(self, org_id: UUID, *, days: int) -> None:
        """So many of that day, for their body."""
        async with self.db.transaction() as connection:
            await connection.execute(INSERT_REFUSED, org_id, datetime.now(UTC) - timedelta(days=days), days)

    async def refused(self) -> dict[tuple[str, str, str], int]:
        """How many webhooks were refused, by org, flow and code."""
        async with self.db.connection() as connection:
            rows = await connection.fetch(SELECT_REFUSED)
        return {(row["slug"], row["flow_id"], row["code"]): row["webhooks"] for row in rows}

    async def listens(self) -> None:
        """Once it has said at the broker where answers go."""

        async def has_said() -> bool:
            async with self.http.get(f"{self.url}/metrics") as answer:
                return "jai_reply_queue 1.0" in await answer.text()

        await eventually(has_said)

    async def queued(self) -> list[GenerateJob]:
        """Every job in every shard; reading them as jobs proves that nothing poisonous is there."""
        jobs: list[GenerateJob] = []
        async with connect(self.amqp_url, "look") as connection:
            channel = await open_channel(connection)
            for name in GENERATE.queues:
                queue = await channel.declare_queue(name, passive=True)
                while (message := await queue.get(fail=False, no_ack=True)) is not None:
                    jobs += Batch[GenerateJob].model_validate_json(message.body).jobs
        return jobs


def webhook(**changes: Any) -> bytes:
    body = {
        "template_id": "welcome",
        "user_id": USER,
        "tracking_id": f"{USER}.FLOW01.70000001",
        "attrs": {"persona": "Runner"},
        "fields": {"first_name": "Ann"},
        **changes,
    }
    return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


@asynccontextmanager
async def rig(database_url: str, amqp_url: str, *, orgs: bool = True, wait_s: float = 3) -> AsyncIterator[Rig]:
    """A gateway with two orgs beside it; without `orgs`: they are there already. It waits `wait_s` for copy."""
    [port] = free_ports(1)
    settings = Settings(
        database_url=database_url, amqp_url=amqp_url, seal_keys=f"k1:{_KEY}", api_key_peppers=f"1:{_KEY}",
        gateway_listen=f"{LOOPBACK}:{port}", gateway_linger_s=0.01, gateway_wait_s=wait_s,
    )  # fmt: skip
    stop, url = asyncio.Event(), f"http://{LOOPBACK}:{port}"
    async with (
        AsyncExitStack() as stack,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
        open_database(database_url, name="rig") as db,
    ):
        service = await build(settings, stack)
        async with asyncio.TaskGroup() as runners:
            for name, runner in service.runners.items():
                runners.create_task(runner(stop), name=name)
            try:
                await eventually(lambda: _answers(http, url))
                made = Rig(url, database_url, db, amqp_url, http, uuid4(), uuid4())
                if orgs:
                    async with db.transaction() as connection:
                        await connection.execute(INSERT_ORG, made.acme, "acme", NOW)
                        await connection.execute(INSERT_ORG, made.other, "other", NOW)
                yield made
            finally:
                stop.set()


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


@asynccontextmanager
async def away(rig: Rig) -> AsyncIterator[None]:
    """The gateway's database, gone: its connections are cut and new ones refused."""
    async with rig.db.connection() as connection:
        name = await connection.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(rig.database_url.rpartition("/")[0] + "/postgres")
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await admin.close()
