"""A backfill by the process as it ships, killed half-way."""

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest

from shared.clock import clock_from_spec
from simulator.api.operations import ALL_SCOPES
from simulator.faults import Fault
from tests.component.ingest.boxed import Boxed, boxed
from tests.component.ingest.given import SENT
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_klaviyo_events import add_source
from tests.component.ingest.test_service import environment, running
from tests.support.klaviyo_events import Mail
from tests.support.waiting import eventually

__all__ = ["environment"]  # a fixture

DAYS = 6
FACTOR = 60


@pytest.fixture
async def box(bare_rig: Rig, environment: dict[str, str]) -> AsyncIterator[Boxed]:
    """On the service's clock."""
    spec = f"scaled:{FACTOR}:{time.time()}:{SENT.isoformat()}"
    environment |= {"JUSTAI_CLOCK": spec, "JUSTAI_INGEST_REQUEUE_S": "300"}
    bare_rig.clock = cast(Any, clock_from_spec(spec))
    async with boxed(bare_rig, ALL_SCOPES) as made:
        yield made


async def days_done(rig: Rig) -> int:
    found = await rig.one("SELECT count(*) AS n FROM ingest_files WHERE path LIKE '%asked%' AND state = 'done'")
    return int(found["n"])


async def test_a_killed_backfill_goes_on_with_the_days_that_are_not_read_yet(
    box: Boxed, environment: dict[str, str]
) -> None:
    rig = box.rig
    events = [
        Mail(box.account, SENT - timedelta(days=day), f"01P{number}").received()
        for day in range(1, DAYS + 1)
        for number in range(80)
    ]
    await add_source(rig)
    await rig.run(
        "INSERT INTO event_backfills SELECT source_id, org_id, $1, $2, $3 FROM sources",
        (SENT - timedelta(days=DAYS)).date(), SENT.date(), SENT,
    )  # fmt: skip
    slow = Fault(kind="slow", operation="get_events", delay_s=0.05)
    box.world.faults.append(slow)

    async def some_but_not_all() -> None:
        assert 0 < await days_done(rig) < DAYS

    async def all_days() -> None:
        assert await days_done(rig) == DAYS

    async with running(environment) as process:
        await eventually(some_but_not_all, within_s=60)
        process.kill()
        await process.wait()
    before = await days_done(rig)
    slow.count = 0
    async with running(environment):
        await eventually(all_days, within_s=90)

    assert before < DAYS
    assert await rig.event_ids() == sorted(event.id for event in events)
    read = await rig.rows("SELECT rows, fresh FROM ingest_files WHERE path LIKE '%asked%'")
    assert read == [{"rows": 80, "fresh": 80}] * DAYS
