"""Faults under load: nothing is lost, nothing is wrong, and everything goes on by itself.

F1 to F20 are the faults of docs/reliability.md. Each test ends with the four ledgers; the figures beside them are
asserted where the fault has one.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import aio_pika
import aiohttp
import pytest

from shared.messaging import topology
from shared.messaging.topology import GENERATE
from shared.schemas.jobs import Batch, GenerateJob
from tests.chaos.load import Loaded, accepted_again, answered_in_time, busy, loaded, unconsumed
from tests.chaos.oracle import Violation
from tests.chaos.rig import Rig, management, seed_of
from tests.chaos.servers import OwnServers, frozen
from tests.support.link import Link, link_to
from tests.support.measured import say
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FREEZE_S, SILENCE_S, AFTER_S = 30.0, 60.0, 15.0
LOAD_S = 300  # at most, where the end of a fault ends the load
DELAY_S = 0.3  # each way
COUNT_WRITES_OPEN = """
    SELECT count(*) FROM generations g WHERE NOT EXISTS (
        SELECT FROM write_outcomes w WHERE w.day = g.day AND w.generation_id = g.generation_id)
"""
COUNT_WRITTEN_SINCE = """
    SELECT count(*) FROM generations g JOIN write_outcomes w USING (day, generation_id)
    WHERE g.accepted_at > $1 AND w.outcome = 'written'
"""


async def test_without_a_fault_the_ledgers_agree(own: OwnServers, tmp_path: Path) -> None:
    async with loaded(own, tmp_path, seed_of("calm")) as load:
        load.start(10)
        await load.end()

        assert {one.status for one in load.rig.client.answers if one.error != "sent by the box"} == {202}


@pytest.mark.alone
async def test_f02_a_killed_broker_loses_nothing_and_is_used_as_soon_as_it_is_back(
    own: OwnServers, tmp_path: Path
) -> None:
    again_s = []
    async with loaded(own, tmp_path, seed_of("f02")) as load:
        load.start(LOAD_S)
        for _ in range(5):
            await load.flowing()
            own["rabbitmq"].kill()
            await asyncio.to_thread(own["rabbitmq"].start)
            again_s.append(round(await accepted_again(load.rig.client, within_s=busy(20)), 2))
        load.stop()
        await load.end()

        answered_in_time(load.rig.client)
        assert {one.status for one in load.rig.client.answers} <= {0, 202, 503}
    say(again_s=again_s)
    assert max(again_s) <= 3


FROZEN = {
    "broker": ("rabbitmq",), "database": ("postgres",), "s3_and_sshd": ("s3", "sshd"), "klaviyo": ("simulator",),
    "gateway": ("gateway",), "generator": ("generator",), "profile_writer": ("profile_writer",),
    "the_others": ("ingest", "egress", "ranker"), "console": ("console",),
}  # fmt: skip


@pytest.mark.alone
@pytest.mark.parametrize("what", FROZEN)
async def test_f04_nothing_hangs_when_something_was_frozen(own: OwnServers, tmp_path: Path, what: str) -> None:
    async with loaded(own, tmp_path, seed_of(f"f04 {what}"), console=True) as load:
        rig, loop = load.rig, asyncio.get_running_loop()
        load.start(LOAD_S)
        await load.flowing()
        with contextlib.ExitStack() as stopped:
            for name in FROZEN[what]:
                pid = own[name].process.pid if name in own.servers else rig.pid(name)
                stopped.enter_context(frozen(pid))
            dead = await load.dead_during(FREEZE_S, but=FROZEN[what])
        thawed_s = loop.time()
        ready_s = await load.ready()
        await load.flowing(1)
        flowing_s = loop.time() - thawed_s
        say(ready_s=round(ready_s, 2), flowing_s=round(flowing_s, 2))
        await asyncio.sleep(thawed_s + AFTER_S - loop.time())
        load.stop()
        await load.end()

        # What a frozen gateway was asked it answers when it goes on.
        answered_in_time(rig.client, sent_from_s=thawed_s if what == "gateway" else 0)
    assert not dead
    assert max(ready_s, flowing_s) <= 10


@pytest.mark.alone
async def test_f08_closed_connections_and_deleted_queues_are_consumed_again(own: OwnServers, tmp_path: Path) -> None:
    async with loaded(own, tmp_path, seed_of("f08")) as load:
        rig = load.rig
        load.start(LOAD_S)
        closed_s = [await _connections_closed(load) for _ in range(3)]
        load.stop()
        await load.loaded()
        await rig.settled()  # a queue that is deleted takes what is in it
        deleted_s = await _queues_deleted(rig)
        say(closed_s=closed_s, deleted_s=deleted_s)
        load.start(3)
        await load.end()
    assert max(closed_s) <= 5
    assert deleted_s <= 5


async def _connections_closed(load: Loaded) -> float:
    """By an administrator. The seconds until all queues have consumers, and a webhook from after it is written."""
    await load.flowing(1)
    async with management(load.rig.endpoints) as (http, base):

        async def listed() -> list[str]:
            """The list lags by seconds: of connections that are new it may know few."""
            async with http.get(f"{base}/api/connections") as answer:
                names = [one["name"] for one in await answer.json()]
            assert len(names) >= len(load.names)  # each has one and more
            return names

        closed = 0
        for name in await eventually(listed, within_s=15, every_s=0.2):
            with contextlib.suppress(aiohttp.ClientError):  # it has gone meanwhile
                await (await http.delete(f"{base}/api/connections/{quote(name, safe='')}")).release()
                closed += 1
    assert closed >= len(load.names)
    closed_s, at = time.monotonic(), load.rig.clock.now()
    await eventually(lambda: _written_since(load.rig, at), within_s=busy(30), every_s=0.1)
    await eventually(lambda: _attached(load.rig), within_s=busy(30), every_s=0.1)
    return round(time.monotonic() - closed_s, 2)


async def _queues_deleted(rig: Rig) -> float:
    """All of them. The seconds until they are there again and consumed."""
    async with management(rig.endpoints) as (http, base):
        async with http.get(f"{base}/api/queues/%2F") as answer:
            queues = {one["name"] for one in await answer.json() if not one["name"].startswith("reply.")}
        for name in queues:
            await (await http.delete(f"{base}/api/queues/%2F/{quote(name, safe='')}")).release()
    deleted_s = time.monotonic()
    await eventually(lambda: _attached(rig), within_s=busy(30), every_s=0.1)
    return round(time.monotonic() - deleted_s, 2)


async def _attached(rig: Rig) -> None:
    queues = [name for spec in topology.ALL for name in spec.queues]  # the others come when they are needed
    assert await unconsumed(rig.amqp_url, queues) == []


async def _written_since(rig: Rig, at: datetime) -> bool:
    return bool(await rig.fetchval(COUNT_WRITTEN_SINCE, at))


async def test_f09_after_the_loss_of_all_messages_what_was_stored_is_written(own: OwnServers, tmp_path: Path) -> None:
    async with loaded(own, tmp_path, seed_of("f09")) as load:
        rig = load.rig
        load.start(30)
        await load.flowing()
        with frozen(rig.pid("profile_writer")):
            await load.flowing()  # generations are stored whose writes only the broker knows
            await rig.processes.end("generator", kill=True)
            await load.flowing(1)  # what is accepted lies in its queues
            with frozen(rig.pid("gateway")):
                lying, killed_s = await _jobs_lying(rig.amqp_url), asyncio.get_running_loop().time()
                own["rabbitmq"].kill()
            own["rabbitmq"].wipe()
        unwritten = await rig.fetchval(COUNT_WRITES_OPEN)
        await asyncio.to_thread(own["rabbitmq"].start)
        await rig.start("generator", wait=False)
        again_s = await accepted_again(rig.client, within_s=30)
        await load.loaded()

        async def written() -> None:
            assert await rig.fetchval(COUNT_WRITES_OPEN) == 0

        await eventually(written, within_s=60, every_s=0.25)
        lost: list[str] = []
        before = {one.generation_id for one in rig.client.answers if one.accepted and one.at_s - one.took_s <= killed_s}

        def with_the_broker(one: Violation) -> bool:
            if one.kind == "lost" and one.generation_id in before:
                lost.append(one.generation_id)
                return True
            return False

        await rig.clean(load.seed, allowed=with_the_broker)
        say(unwritten_at_the_loss=unwritten, again_s=round(again_s, 2), lying=lying, lost_with_the_broker=len(lost))
    assert unwritten > 0
    assert lying > 0
    assert len(lost) <= lying


async def _jobs_lying(amqp_url: str) -> int:
    """In the queues of the generator: each message is looked at, and goes back with the connection."""
    jobs = 0
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for name in GENERATE.queues:
            queue = await channel.declare_queue(name, passive=True)
            while (message := await queue.get(fail=False)) is not None:
                jobs += len(Batch[GenerateJob].model_validate_json(message.body).jobs)
    return jobs


@pytest.mark.alone
@pytest.mark.parametrize("between", ["gateway and broker", "writer and database"])
async def test_f10_a_line_that_swallows_everything_is_noticed_and_gone_around(
    own: OwnServers, tmp_path: Path, between: str
) -> None:
    async with loaded(own, tmp_path, seed_of(f"f10 {between}")) as load, _linked(load, between) as (link, name):
        rig, since = load.rig, len(load.rig.client.answers)
        load.start(LOAD_S)
        await load.flowing()
        link.freeze()
        frozen_s = time.monotonic()
        await eventually(lambda: _unready(rig, name), within_s=busy(40), every_s=0.1)
        noticed_s = time.monotonic() - frozen_s
        assert await load.dead_during(SILENCE_S - noticed_s) == []
        link.mend()
        back_s = await rig.ready(name, within_s=busy(20))
        await load.flowing()
        load.stop()
        await load.end()
        answered_in_time(rig.client, since)
        say(noticed_s=round(noticed_s, 1), back_s=round(back_s, 1))
    assert noticed_s <= 30
    assert back_s <= 10


@pytest.mark.alone
async def test_f10_a_long_line_to_the_broker_costs_time_alone(own: OwnServers, tmp_path: Path) -> None:
    async with loaded(own, tmp_path, seed_of("f10 long")) as load, _linked(load, "gateway and broker") as (link, _):
        rig, since = load.rig, len(load.rig.client.answers)
        link.lengthen(DELAY_S)
        load.start(30)
        assert await load.dead_during(30) == []
        await load.end()
        answered_in_time(rig.client, since)
        assert {one.status for one in rig.client.answers[since:] if one.error != "sent by the box"} <= {202, 503}


@asynccontextmanager
async def _linked(load: Loaded, between: str) -> AsyncIterator[tuple[Link, str]]:
    """The line that one service has to a server, and the service's name."""
    rig = load.rig
    name, setting, url = {
        "gateway and broker": ("gateway", "JUSTAI_AMQP_URL", rig.amqp_url),
        "writer and database": ("profile_writer", "JUSTAI_DATABASE_URL", rig.database_url),
    }[between]
    async with link_to(url) as (link, through):
        await rig.processes.end(name)
        await rig.start(name, env={setting: through})
        yield link, name
        await rig.processes.end(name)  # before its line goes


async def _unready(rig: Rig, name: str) -> bool:
    return await rig.health(name, "/readyz") != 200
