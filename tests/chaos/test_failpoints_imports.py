"""The writer's bulk road, killed before and after each commit: no import is lost, made twice with harm, or believed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import SERVERS
from tests.chaos.client import webhooks
from tests.chaos.failing import EXIT_CODE
from tests.chaos.rig import COUNT_STORED, Rig, open_rig, seed_of
from tests.chaos.test_failpoints import failing, known
from tests.support.servers import Servers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

WRITER = "profile_writer"
MORE_THAN_FIT = 260
DELAY_S, LOST_AFTER_S = 3600, 180
FAULTS: dict[str, dict[str, object]] = {
    "an answer that is lost": {"kind": "reset_after_apply"},
    "an import that is refused": {"kind": "status", "status": 400},
    "a key that may not import": {"kind": "unauthorized"},
}
# As of an account that was refused often lately: single writes carry next to nothing, so that few people are too many.
TIGHTEN = "UPDATE klaviyo_accounts SET factor = $1, factor_at = $2"
DELAY = "UPDATE templates SET delay_s = $1"
DAMAGE = """
    UPDATE generations SET vars = 'damaged' WHERE (day, generation_id) = (
        SELECT day, generation_id FROM generations WHERE decision = 'treatment' ORDER BY accepted_at DESC LIMIT 1)
    RETURNING generation_id::text
"""
DAMAGED = "a copy that cannot be read"
_damaged: set[str] = set()
"""Of all stories: ledgers forget nothing."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    names, folder = ("gateway", "generator", WRITER), tmp_path_factory.mktemp("imports")
    async with open_rig(
        servers.need(*SERVERS), folder, names=names, orgs=1, people=6 * MORE_THAN_FIT, imports=True
    ) as rig:
        await rig.execute(DELAY, DELAY_S)
        await rig.client.load(webhooks(rig.orgs, 2, seed_of("imports"), people=slice(2)), 40)
        await rig.settled()
        yield rig


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("site", known()["by_import"][WRITER])
async def test_f15_a_kill_anywhere_on_the_bulk_road_loses_nothing_and_writes_nothing_wrong(
    rig: Rig, tmp_path: Path, site: str, when: str
) -> None:
    await kill_at(rig, tmp_path, site, when)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("trouble", "site"), [(trouble, site) for trouble, sites in known()["by_import_trouble"].items() for site in sites]
)
async def test_f15_a_kill_while_an_import_is_in_trouble_loses_nothing_and_writes_nothing_wrong(
    rig: Rig, tmp_path: Path, trouble: str, site: str, when: str
) -> None:
    [org] = rig.orgs
    if trouble == DAMAGED:
        await kill_at(rig, tmp_path, site, when, damaged=True)
        return
    await org.box.break_down(**FAULTS[trouble], operation="bulk_import_profiles", count=1)
    try:
        await kill_at(rig, tmp_path, site, when)
    finally:
        await org.box.mend()
        await rig.execute("DELETE FROM bulk_refusals")  # as a new key does


async def kill_at(rig: Rig, tmp_path: Path, site: str, when: str, *, damaged: bool = False) -> None:
    """The writer dies there with more to write than single requests carry, and all of it is written. `damaged`: but
    for one, whose copy cannot be read any more when the writer comes to it."""
    seed = seed_of(f"{site} {when}")
    await rig.processes.end(WRITER)
    await rig.execute(TIGHTEN, 0.005, rig.clock.now())
    await rig.client.load(webhooks(rig.orgs, MORE_THAN_FIT, seed), 200)
    if damaged:
        await eventually(lambda: _all_stored(rig), within_s=60, every_s=0.25)
        _damaged.add(await rig.fetchval(DAMAGE))
    await rig.start(WRITER, argv=failing(WRITER, tmp_path / "report", "--at", site, "--when", when), wait=False)

    assert await rig.died(WRITER, within_s=60) == EXIT_CODE
    await rig.start(WRITER)
    rig.leap(LOST_AFTER_S)  # what was being sent then is looked for in Klaviyo's list
    await eventually(lambda: _no_import_on_its_way(rig), within_s=60, every_s=0.25)
    await rig.execute(TIGHTEN, 0.9, rig.clock.now())
    await rig.settled()
    await rig.clean(seed, allowed=lambda one: one.generation_id in _damaged and one.what == "rejected: no_stored_copy")


async def _all_stored(rig: Rig) -> None:
    accepted = list({one.generation_id for one in rig.client.answers if one.accepted})
    assert await rig.fetchval(COUNT_STORED, accepted) == len(accepted)


async def _no_import_on_its_way(rig: Rig) -> None:
    assert await rig.fetchval("SELECT count(*) FROM bulk_jobs WHERE state <> 'ended'") == 0
