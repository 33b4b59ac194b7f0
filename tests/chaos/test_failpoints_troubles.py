"""Killed where only trouble leads: the ledgers agree all the same, and what the trouble was about comes to its end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import SERVERS
from tests.chaos.client import webhooks
from tests.chaos.failing import EXIT_CODE
from tests.chaos.oracle import Violation
from tests.chaos.rig import Rig, open_rig, seed_of
from tests.chaos.test_failpoints import failing, known
from tests.chaos.trouble import Trouble
from tests.chaos.troubles import TROUBLES
from tests.support.servers import Servers

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    folder = tmp_path_factory.mktemp("troubles")
    async with open_rig(servers.need(*SERVERS), folder, orgs=2, people=200, imports=True) as rig:
        await rig.client.load(webhooks(rig.orgs, 4, seed_of("troubles")), 40)
        await rig.settled()
        yield rig


def points() -> list[tuple[str, str, str]]:
    return [
        (trouble, site, when)
        for trouble, sites in known()["by_trouble"].items()
        for site in sites
        for when in ("before", "after")
    ]


@pytest.mark.parametrize(("trouble", "site", "when"), points())
async def test_f15_a_kill_anywhere_in_trouble_loses_nothing_and_writes_nothing_wrong(
    rig: Rig, tmp_path: Path, trouble: str, site: str, when: str
) -> None:
    service, kind = TROUBLES[trouble]
    seed = seed_of(f"{trouble} {site} {when}")
    met = kind(rig, seed)
    await met.before()
    await rig.processes.end(service)
    argv = failing(service, tmp_path / "report", "--at", site, "--when", when)
    await rig.start(service, argv=argv, env=met.env, wait=False)
    await met.during()
    assert await rig.died(service, within_s=60) == EXIT_CODE
    await rig.start(service, env=met.env)
    await met.after()
    await rig.settled()
    await rig.clean(seed, allowed=lambda one: asked_for(one, met))


_asked_for: set[Violation] = set()
"""What earlier troubles were allowed: ledgers forget nothing."""


def asked_for(one: Violation, met: Trouble) -> bool:
    if met.allowed(one):
        _asked_for.add(one)
    return one in _asked_for
