"""Our own command, killed before and after each commit and acknowledgement: the next run finds nothing half done."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio

from devstack import SERVERS
from devstack.isolation import fresh_database, fresh_name
from devstack.processes import python
from devstack.seeds import INSERT_ORG
from devstack.services import environment, run_justai
from shared.clock import SystemClock
from shared.crypto import KeyRing
from shared.db import sealed
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import GENERATE
from tests.chaos.client import webhooks
from tests.chaos.failing import EXIT_CODE, ROOT
from tests.chaos.orgs import INSERT_INTEGRATION
from tests.chaos.rig import Rig, open_rig, seed_of
from tests.chaos.test_failpoints import known
from tests.support.servers import Servers

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

MOMENTS = ["before", "after"]
PUBLISH = "publish shared/messaging/publisher.py Publisher.send"
SELECT_SCHEMA = """
    SELECT table_name, column_name, data_type, column_default FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY 1, 2
"""
SELECT_MIGRATIONS = "SELECT name, sha256 FROM schema_migrations ORDER BY 1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    names, folder = ("gateway", "generator", "profile_writer", "egress"), tmp_path_factory.mktemp("commands")
    async with open_rig(servers.need(*SERVERS), folder, names=names, orgs=1, people=100) as rig:
        yield rig


def sites(command: str) -> list[str]:
    return known()["by_command"][command]


async def killed(env: Mapping[str, str], at: str, when: str, report: Path, *told: str, nth: int = 1) -> None:
    """Our command dies there."""
    asked = ["--report", str(report), "--at", at, "--when", when, "--nth", str(nth)]
    process = await asyncio.create_subprocess_exec(
        *python("tests.chaos.failing"), "cli", *asked, "--", *told,
        env={**os.environ, **env}, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    assert process.returncode == EXIT_CODE, output.decode()


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("site", sites("dead replay"))
async def test_a_replay_that_was_killed_is_finished_by_the_next(rig: Rig, tmp_path: Path, site: str, when: str) -> None:
    seed = seed_of(f"{site} {when}")
    await rig.processes.end("generator")
    await rig.client.load(webhooks(rig.orgs, 12, seed), 10)
    assert await _buried(rig) > 1
    await rig.start("generator")

    await killed(rig.env, site, when, tmp_path / "report", "dead", "replay", "generate")
    await run_justai(rig.env, "dead", "replay", "generate")

    await rig.settled()
    await rig.clean(seed)


async def _buried(rig: Rig) -> int:
    """Whatever waits for a generator becomes a dead letter; how many did."""
    count = 0
    async with (
        await aio_pika.connect(rig.amqp_url) as connection,
        open_publisher(rig.amqp_url, "burying", GENERATE) as publisher,
    ):
        channel = await connection.channel()
        for name in GENERATE.queues:
            queue = await channel.get_queue(name)
            while message := await queue.get(fail=False):
                await publisher.send(GENERATE.dead, message.body)
                await message.ack()
                count += 1
    return count


@pytest.mark.parametrize("when", MOMENTS)
async def test_a_backfill_that_was_killed_is_finished_by_the_next(rig: Rig, tmp_path: Path, when: str) -> None:
    seed, [org] = seed_of(f"backfill {when}"), rig.orgs
    await rig.client.load(webhooks(rig.orgs, 6, seed), 40)
    await rig.settled()
    end = rig.leap_to_the_next_hour()
    await rig.exported(end)
    start = end - timedelta(hours=1)
    told = ["export", "backfill", org.slug, "--from", f"{start:%Y-%m-%dT%H}", "--to", f"{end:%Y-%m-%dT%H}"]

    await killed(rig.env, PUBLISH, when, tmp_path / "report", *told)  # the hour is marked by now
    await run_justai(rig.env, *told)

    await rig.exported(end)
    await rig.clean(seed)


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("site", sites("kek rotate"))
async def test_a_rotation_that_was_killed_is_finished_by_the_next(
    servers: Servers, tmp_path: Path, site: str, when: str
) -> None:
    old, new = (f"{name}:{base64.b64encode(os.urandom(32)).decode()}" for name in ("k1", "k2"))
    async with fresh_database(servers.need("postgres").database_url) as url:
        env = environment(database_url=url, amqp_url="amqp://nobody@127.0.0.1:1/", seal_keys=f"{new},{old}")
        connection, now = await asyncpg.connect(url), SystemClock().now()
        try:
            for number in range(3):
                org_id = uuid4()
                secret = KeyRing(old).seal(f"secret {number}", f"{org_id}/klaviyo")
                await connection.execute(INSERT_ORG, org_id, f"shop-{number}", now)
                await connection.execute(INSERT_INTEGRATION, org_id, f"acct:{number}", "http://x", secret, [], now)

            await killed(env, site, when, tmp_path / "report", "kek", "rotate")
            await run_justai(env, "kek", "rotate")

            rows = await connection.fetch(sealed.SELECT_SEALED)
        finally:
            await connection.close()
    assert {KeyRing(new).open(row["sealed"], row["place"]) for row in rows} == {f"secret {n}" for n in range(3)}


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("nth", [1, 25])
@pytest.mark.parametrize("site", sites("migrate"))
async def test_a_migration_that_was_killed_is_finished_by_the_next(
    servers: Servers, tmp_path: Path, site: str, nth: int, when: str
) -> None:
    async with fresh_database(servers.need("postgres").database_url) as whole:
        admin, name = await asyncpg.connect(whole), fresh_name("killed")
        await admin.execute(f'CREATE DATABASE "{name}"')
        try:
            url = whole.replace(whole.rpartition("/")[2], name)
            env = environment(database_url=url, amqp_url="amqp://nobody@127.0.0.1:1/")
            await killed(env, site, when, tmp_path / "report", "migrate", nth=nth)
            applied = len(await _of(url, SELECT_MIGRATIONS))
            await run_justai(env, "migrate")

            assert applied == (nth if when == "after" else nth - 1)
            assert await _of(url, SELECT_MIGRATIONS) == await _of(whole, SELECT_MIGRATIONS)
            assert await _of(url, SELECT_SCHEMA) == await _of(whole, SELECT_SCHEMA)
        finally:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await admin.close()


async def _of(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()
