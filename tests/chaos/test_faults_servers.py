"""Servers that run and cannot do their work: a broker under alarm, a database whose disk is full, or that asks to try
again."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from devstack.processes import python
from devstack.services import SERVICES
from shared.messaging.topology import WRITE
from tests.chaos.load import ANSWER_S, accepted_again, answered_in_time, busy, loaded
from tests.chaos.prometheus import Prometheus, watching
from tests.chaos.rig import Rig, management, seed_of
from tests.chaos.servers import OwnServers, filled, own_servers, small_disk
from tests.support.measured import say
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(360)]

ALARM_S, FULL_S = 60.0, 20.0
ALARMS = {
    "memory": ("set_vm_memory_high_watermark", "absolute", "1", "1GB"),
    "disk": ("set_disk_free_limit", "100000GB", "50MB"),
}
"""What raises each, and in place of its last word what ends it."""
INSERT_MUCH = "INSERT INTO probe SELECT md5(random()::text) FROM generate_series(1, 10000)"
WOKEN = {"WebhooksFail", "PublishesUnconfirmed"}
DISK_MB = 450


@pytest.mark.parametrize("alarm", ALARMS)
async def test_f07_while_the_broker_takes_nothing_callers_are_told_and_what_it_holds_is_done(
    own: OwnServers, tmp_path: Path, alarm: str
) -> None:
    *raised, ended = ALARMS[alarm]
    async with loaded(own, tmp_path, seed_of(f"f07 {alarm}")) as load:
        rig, loop = load.rig, asyncio.get_running_loop()
        prometheus = await watching(rig)
        await rig.processes.end("profile_writer")
        load.start(4)
        await load.loaded()  # writes wait in the broker
        assert not WOKEN & await prometheus.alerts()
        await asyncio.to_thread(own["rabbitmq"].control, *raised)
        since_s, since = loop.time(), len(rig.client.answers)
        try:
            load.start(15)  # and again and again until it is over
            await rig.start("profile_writer")
            await eventually(lambda: _told(rig, since), within_s=busy(30), every_s=0.25)
            await eventually(lambda: _written_off(own), within_s=busy(40), every_s=0.5)
            taken_s = loop.time() - since_s
            await eventually(lambda: _woken(prometheus), within_s=busy(40), every_s=0.5)
            woken_s = loop.time() - since_s
            assert await load.dead_during(since_s + ALARM_S - loop.time()) == []
            gateway_mb = psutil.Process(rig.pid("gateway")).memory_info().rss / 1e6
            during = {one.status for one in rig.client.answers[since:]}
        finally:
            await asyncio.to_thread(own["rabbitmq"].control, *raised[:-1], ended)
        again_s = await accepted_again(rig.client, within_s=busy(30))
        await load.end()

        answered_in_time(rig.client, limit_s=busy(ANSWER_S))
    say(taken_s=round(taken_s, 1), woken_s=round(woken_s, 1), again_s=round(again_s, 2), gateway_mb=round(gateway_mb))
    assert during <= {202, 503}  # 202: confirmed before the alarm
    assert gateway_mb < 250


@pytest.fixture
def small() -> Iterator[OwnServers]:
    """Servers of this test's own, whose PostgreSQL has a disk of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="justai-chaos-") as folder,
        small_disk(Path(folder) / "postgres", DISK_MB),
        own_servers(Path(folder)) as servers,
    ):
        yield servers


async def test_f19_while_the_databases_disk_is_full_known_keys_are_served_and_nothing_is_half_written(
    small: OwnServers, tmp_path: Path
) -> None:
    async with loaded(small, tmp_path, seed_of("f19 full")) as load:
        rig, server = load.rig, small["postgres"]
        load.start(35)
        await load.flowing(3)
        await rig.execute("CREATE TABLE probe (random text)")
        with filled(server.folder.path):
            await eventually(lambda: _refused(rig), within_s=busy(30), every_s=0.25)
            dead = await load.dead_during(FULL_S)
        ended = server.process.poll() is not None  # it does so when its log finds no room either
        if ended:
            await asyncio.to_thread(server.start)
        back_s = [await rig.ready(name, within_s=busy(30)) for name in SERVICES]
        await load.loaded()
        statuses = {one.status for one in rig.client.answers}
        await load.end()
    say(ended=ended, back_s=round(sum(back_s), 1))
    assert statuses == {202}
    assert dead == []
    assert sum(back_s) <= busy(10)


async def test_f19_a_database_that_asks_to_try_again_loses_nothing_and_ends_nobody(
    own: OwnServers, tmp_path: Path
) -> None:
    async with loaded(own, tmp_path, seed_of("f19 refusing")) as load:
        rig = load.rig
        for name in SERVICES:
            argv = [*python("tests.chaos.failing"), name, "--report", str(tmp_path / name), "--refuse", "0.01"]
            await rig.processes.end(name)
            await rig.start(name, argv=argv)
        pids = {name: rig.pid(name) for name in SERVICES}
        load.start(20)
        await load.end()
        await rig.loaded()

        assert {name: rig.processes.exit_code(name) for name in SERVICES} == dict.fromkeys(SERVICES)
        assert {name: rig.pid(name) for name in SERVICES} == pids
        assert {one.status for one in rig.client.answers if one.error != "sent by the box"} <= {202, 503}


async def _refused(rig: Rig) -> bool:
    """Whether nothing more can be stored."""
    try:
        await rig.execute(INSERT_MUCH)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return True
    return False


async def _told(rig: Rig, since: int) -> None:
    assert 503 in {one.status for one in rig.client.answers[since:]}


async def _written_off(own: OwnServers) -> None:
    """Nothing is left in the queues of writes: their reader acknowledges although the broker takes nothing in."""
    async with management(own.endpoints) as (http, base), http.get(f"{base}/api/queues/%2F") as response:
        left = {one["name"]: one.get("messages", 0) for one in await response.json()}
    assert not any(left[name] for name in WRITE.queues), {name: left[name] for name in WRITE.queues}


async def _woken(prometheus: Prometheus) -> None:
    found = await prometheus.alerts()
    assert found >= WOKEN, found
