"""How late exports are is told: of hours that could have been exported, and of no others."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.egress.handler import export_hour
from services.egress.scheduler import Scheduler
from shared import metrics
from shared.messaging.topology import QueueSpec
from tests.component.egress.shop import HOUR, World, job, people

SETTLE_S = 900
CLOSED = {"hourly": HOUR + timedelta(hours=1), "daily": HOUR.replace(hour=0) + timedelta(days=1)}


class Nowhere:
    async def send_jobs(self, spec: QueueSpec, org_id: object, jobs: Sequence[Any]) -> None: ...


async def late_s(world: World, now: datetime) -> float:
    """What the exporter tells after a look."""
    world.clock.advance((now - world.clock.now()).total_seconds())
    await Scheduler(world.store, Nowhere(), world.clock, settle_s=SETTLE_S, tick_s=60, requeue_s=3600).look()
    told = metrics.REGISTRY.get_sample_value("jai_export_late_seconds")
    assert told is not None
    return told


@pytest.mark.parametrize("cadence", ["hourly", "daily"])
async def test_an_hour_is_late_from_when_it_could_have_been_exported_until_it_is(world: World, cadence: str) -> None:
    shop = await world.shop(cadence=cadence, updated_at=HOUR)
    await world.say(shop, people(2))
    due = CLOSED[cadence] + timedelta(seconds=SETTLE_S)

    told = [await late_s(world, due + timedelta(hours=hours)) for hours in (0, 1, 3)]
    for hour in await world.admin.fetch("SELECT hour FROM export_hours WHERE exported_at IS NULL"):
        await export_hour(job(shop, hour["hour"]), world.deps)

    assert told == [0, 3600, 3 * 3600]
    assert await late_s(world, due + timedelta(hours=3)) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE export_targets SET enabled = false",
        "UPDATE export_targets SET updated_at = $1",
        "UPDATE export_hours SET state = 'blocked'",
        "UPDATE export_hours SET reason = 'backfill'",
        "UPDATE export_hours SET exported_at = $1",
        "UPDATE export_hours SET hour = hour - interval '3 days'",
    ],
    ids=["exports are off", "a new target", "blocked", "a backfill", "a rewrite", "history"],
)
async def test_what_nobody_waits_for_is_not_late(world: World, change: str) -> None:
    shop = await world.shop(cadence="hourly", updated_at=HOUR)
    await world.say(shop, people(2))
    now = CLOSED["hourly"] + timedelta(hours=5)
    assert await late_s(world, now) > 3600

    await world.admin.execute(change, *([now] if "$1" in change else []))

    late = await world.store.late_s(now, SETTLE_S)
    assert late == 0
