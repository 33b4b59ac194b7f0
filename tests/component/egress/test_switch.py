"""Exports that are switched off write nothing and lose nothing; orgs without a bucket export into a folder."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from services.egress.handler import export_hour
from services.egress.model import Plan
from services.egress.scheduler import Scheduler
from services.egress.store import Store
from shared.messaging.topology import QueueSpec
from tests.component.egress.mail import sent
from tests.component.egress.shop import HOUR, KEYS, Shop, World, job, people
from tests.component.egress.test_service import running
from tests.support.waiting import eventually

KEY = "2026/11/23/10/part-000.parquet"


class Sent:
    def __init__(self) -> None:
        self.jobs: list[Any] = []

    async def send_jobs(self, spec: QueueSpec, org_id: object, jobs: Sequence[Any]) -> None:
        self.jobs += jobs


async def look(world: World) -> list[Any]:
    """What the scheduler publishes now."""
    found = Sent()
    await Scheduler(world.store, found, world.clock, settle_s=900, tick_s=60, requeue_s=3600).look()
    return found.jobs


async def waits(world: World, shop: Shop) -> bool:
    row = await world.hour(shop)
    return bool(row["dirty_seq"] > row["exported_seq"])


async def test_hours_that_close_while_exports_are_off_are_published_when_they_are_on_again(world: World) -> None:
    shop = await world.shop(cadence="hourly", enabled=False)
    await world.say(shop, people(3))

    off = await look(world)
    await world.set(shop.org_id, enabled=True)
    on = await look(world)

    assert off == []
    assert [one.hour for one in on] == [HOUR]


async def test_a_job_that_was_under_way_when_exports_were_switched_off_writes_nothing_and_stays_due(
    world: World,
) -> None:
    shop = await world.shop(enabled=False)
    await world.say(shop, people(3))

    await export_hour(job(shop), world.deps)

    assert await world.objects() == {}
    assert await waits(world, shop)
    await world.set(shop.org_id, enabled=True)
    await export_hour(job(shop), world.deps)
    assert await world.rows(KEY) == shop.exported


async def test_late_rows_and_news_of_emails_are_remembered_while_exports_are_off(world: World) -> None:
    shop = await world.shop(cadence="hourly", tables=["outcomes"])
    await world.say(shop, people(2))
    for one in await look(world):
        await export_hour(one, world.deps)
    await world.set(shop.org_id, enabled=False)

    await world.say(shop, people(1, name="late"))
    await sent(world, shop, "person1", HOUR + timedelta(minutes=40))
    while_off = await look(world)
    left = await world.admin.fetchval("SELECT count(*) FROM export_marks")
    await world.set(shop.org_id, enabled=True)
    world.clock.advance(2 * 3600)

    assert (while_off, left) == ([], 0)  # the mark became a dirty hour
    assert {(one.table, one.hour) for one in await look(world)} >= {("generations", HOUR), ("outcomes", HOUR)}


async def test_an_org_that_is_switched_off_keeps_no_other_from_exporting(world: World) -> None:
    shop, other = (
        await world.shop(cadence="hourly", enabled=False),
        await world.shop("other", prefix="o", cadence="hourly"),
    )
    for one in (shop, other):
        await world.say(one, people(2))

    assert {one.org_id for one in await look(world)} == {other.org_id}


async def test_an_org_without_a_bucket_exports_into_its_folder(world: World, amqp_url: str, tmp_path: Path) -> None:
    shop = await world.shop("acme")
    await world.say(shop, people(30))
    await world.admin.execute("DELETE FROM export_targets")

    async with running(world, amqp_url, now=HOUR + timedelta(days=1), egress_folder=tmp_path):

        async def is_there() -> None:
            assert (tmp_path / "acme" / "_manifests/2026/11/23/10.json").exists()

        await eventually(is_there, within_s=15)

    said = json.loads((tmp_path / "acme" / "_manifests/2026/11/23/10.json").read_bytes())
    assert pq.read_table(tmp_path / "acme" / KEY).to_pylist(maps_as_pydicts="strict") == shop.exported
    assert (said["rows"], said["files"][0]["key"]) == (30, KEY)


async def test_only_orgs_that_have_no_target_get_the_folder(world: World) -> None:
    shop, other = await world.shop("shop"), await world.shop("other", prefix="other", enabled=False)
    await world.admin.execute("DELETE FROM export_targets WHERE org_id = $1", shop.org_id)

    without = await world.store.plans()
    plans = await Store(world.db, KEYS, world.clock).plans()
    again = await Store(world.db, KEYS, world.clock).plans()

    assert [one.org_id for one in without] == [other.org_id]
    assert sorted(plans, key=str) == sorted(again, key=str)
    assert {one.org_id: one for one in plans} == {
        shop.org_id: Plan(shop.org_id, "daily"), other.org_id: Plan(other.org_id, "daily", enabled=False),
    }  # fmt: skip
    assert (await world.store.target(shop.org_id)).bucket == ""


async def test_a_job_of_an_org_that_gave_its_exports_up_ends_and_leaves_nothing_behind(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(3))
    await world.admin.execute("DELETE FROM export_targets WHERE org_id = $1", shop.org_id)

    await export_hour(job(shop), world.deps)

    assert await world.objects() == {}
    assert await world.admin.fetchval("SELECT count(*) FROM export_hours") == 0
