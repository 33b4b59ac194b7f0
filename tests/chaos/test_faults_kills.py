"""Services and servers are killed under load, with work in hand."""

import asyncio
import contextlib
import os
import random
import signal
import statistics
import time
from pathlib import Path

import psutil
import pytest

from devstack.services import SERVICES
from tests.chaos.in_hand import InHand
from tests.chaos.load import Loaded, accepted_again, busy, loaded
from tests.chaos.oracle import written_again
from tests.chaos.rig import seed_of
from tests.chaos.servers import OwnServers, tree
from tests.support.measured import say
from tests.support.waiting import eventually

LOAD_S = 300  # at most; the kills are over sooner
KILLS = 20


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(900)
async def test_f01_killed_services_lose_nothing_and_write_little_twice(own: OwnServers, tmp_path: Path) -> None:
    seed = seed_of("f01")
    back_s: list[tuple[float, float, str]] = []
    async with loaded(own, tmp_path, seed, console=True) as load:
        rig = load.rig
        victims = [*SERVICES, "console"] * 3
        random.Random(seed).shuffle(victims)
        load.start(5)
        await load.loaded()
        await rig.settled()
        in_hand = InHand(rig)
        await in_hand.prepare(victims[:KILLS].count("ingest"))
        load.start(LOAD_S)
        began_s = time.monotonic()
        for victim in victims[:KILLS]:
            await load.flowing(1)
            await in_hand.kill(victim)
            started_s = time.monotonic()
            await rig.start(victim)
            own_s = sum(psutil.Process(rig.pid(victim)).cpu_times()[:2])
            back_s.append((round(time.monotonic() - started_s, 1), round(own_s, 1), victim))
        killing_s = time.monotonic() - began_s
        load.stop()
        events = await in_hand.all_loaded()
        await load.end()
        again = written_again(await rig.read())

    say(
        useful=sorted(back_s, reverse=True), median_s=statistics.median(wall_s for wall_s, _, _ in back_s),
        killing_s=round(killing_s), held=dict(in_hand.held), events=events, again=again,
    )  # fmt: skip
    assert again <= in_hand.held["profile_writer"]
    assert max(own_s for _, own_s, _ in back_s) <= 5
    assert max(wall_s for wall_s, _, victim in back_s if victim != "console") <= 5
    # No email waits for it, and it imports most: on two cores that are busy with all the others it is asked for double.
    assert max(wall_s for wall_s, _, _ in back_s) <= 10


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(600)
async def test_f03_a_killed_database_or_backend_costs_known_keys_nothing(own: OwnServers, tmp_path: Path) -> None:
    async with loaded(own, tmp_path, seed_of("f03")) as load:
        since = len(load.rig.client.answers)
        load.start(LOAD_S)
        whole_s = [await _postmaster_killed(load, own) for _ in range(5)]
        chance = random.Random(load.seed)
        one_s = [await _backend_killed(load, own, chance) for _ in range(20)]
        load.stop()
        await load.loaded()
        assert {one.status for one in load.rig.client.answers[since:]} == {202}
        await load.end()
    say(postmaster_s=whole_s, backend_s=one_s)
    assert max(*whole_s, *one_s) <= 5


async def _postmaster_killed(load: Loaded, own: OwnServers) -> float:
    """The seconds from its answering again until every service is ready."""
    await load.flowing(1)
    own["postgres"].kill()
    await asyncio.to_thread(own["postgres"].start)
    return round(await load.ready(), 2)


async def _backend_killed(load: Loaded, own: OwnServers, chance: random.Random) -> float:
    """The seconds from its death, which ends them all, until every service is ready on others."""
    await load.flowing(0.5)
    before = await eventually(lambda: _backends(own), within_s=busy(20), every_s=0.1)
    killed_s = time.monotonic()
    os.kill(chance.choice(sorted(before)), signal.SIGKILL)

    def all_others() -> bool:
        now = _backends(own)
        return bool(now) and not now & before

    await eventually(all_others, within_s=busy(20), every_s=0.05)
    await load.ready()
    return round(time.monotonic() - killed_s, 2)


def _backends(own: OwnServers) -> set[int]:
    """Of connections to PostgreSQL, by their pids."""
    found = set()
    for one in tree(own["postgres"].process.pid)[1:]:
        with contextlib.suppress(psutil.Error):
            if "postgres: justai" in " ".join(one.cmdline()):
                found.add(one.pid)
    return found


@pytest.mark.timeout(300)
async def test_servers_and_services_killed_once_each_under_load_lose_nothing(own: OwnServers, tmp_path: Path) -> None:
    """The short form of F1 to F3: beside other tests, so nothing is held against a clock."""
    async with loaded(own, tmp_path, seed_of("once"), orgs=2, per_s=30) as load:
        rig = load.rig
        load.start(LOAD_S)
        for name in ("rabbitmq", "postgres"):
            await load.flowing(1)
            own[name].kill()
            await asyncio.to_thread(own[name].start)
            await accepted_again(rig.client, within_s=60)
        for victim in SERVICES:
            await rig.processes.end(victim, kill=True)
            await rig.start(victim, wait=False)
        await load.ready()
        await load.flowing(1)
        load.stop()
        await load.end()
