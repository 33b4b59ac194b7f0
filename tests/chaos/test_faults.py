"""Faults under load: nothing is lost, nothing is wrong, and everything goes on by itself."""

from pathlib import Path

import pytest

from tests.chaos.client import webhooks
from tests.chaos.rig import open_rig, seed_of
from tests.chaos.servers import OwnServers

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


async def test_without_a_fault_the_ledgers_agree(own: OwnServers, tmp_path: Path) -> None:
    seed = seed_of("calm")
    async with open_rig(own.endpoints, tmp_path, own=own, orgs=4) as rig:
        await rig.client.load(webhooks(rig.orgs, 400, seed, people=slice(10, None)), 40)
        for org in rig.orgs:
            await org.box.trigger(org.flow, org.people[:10], 2.0)
        read = await rig.exported_and_clean(seed)
    assert len(read.stored) >= 440
