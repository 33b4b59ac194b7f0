"""Rows that come late, and exporters that come twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import IO

import asyncpg
import pytest

from services.egress.handler import Deps, Reader, Rows, export_hour
from services.egress.model import Found, Lease, Superseded, Target
from services.egress.writing import Bucket
from shared.clock import FrozenClock
from shared.errors import Throttled
from shared.exports import Record
from tests.component.egress.shop import HOUR, Person, World, job, people
from tests.support.measured import say
from tests.support.waiting import eventually

KEY = "2026/11/23/10/part-000.parquet"
MANIFEST = "_manifests/2026/11/23/10.json"


@dataclass
class Gate:
    """A place where an exporter can be held, as if its process were stopped there."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_through(self) -> None:
        self.reached.set()
        async with asyncio.timeout(300):  # whoever holds it may have much to do meanwhile, on a machine that is busy
            await self.opened.wait()


class GatedReader:
    """Stops after all rows were read, before the snapshot is given up."""

    def __init__(self, reader: Reader, gate: Gate) -> None:
        self._reader, self._gate = reader, gate

    @asynccontextmanager
    async def hour(self, lease: Lease, record: Record) -> AsyncIterator[Rows]:
        async with self._reader.hour(lease, record) as rows:
            yield rows
            await self._gate.pass_through()

    async def is_gone(self, lease: Lease) -> bool:
        return await self._reader.is_gone(lease)


class GatedBuckets:
    """Stops right before a write of the key leaves for S3, after the lease was asked for the last time."""

    def __init__(self, world: World, gate: Gate, key: str) -> None:
        self._buckets, self._gate, self._key = world.deps.buckets, gate, key

    async def bucket(self, target: Target) -> "GatedBucket":
        return GatedBucket(await self._buckets.bucket(target), self._gate, self._key)


class GatedBucket:
    def __init__(self, bucket: Bucket, gate: Gate, key: str) -> None:
        self._bucket, self._gate, self._key = bucket, gate, key

    async def find(self, key: str) -> Found | None:
        return await self._bucket.find(key)

    async def replace(
        self, key: str, content: IO[bytes], length: int, *, metadata: Mapping[str, str], kind: str, over: Found | None
    ) -> str:
        if key == self._key:
            await self._gate.pass_through()
        return await self._bucket.replace(key, content, length, metadata=metadata, kind=kind, over=over)

    async def remove(self, key: str, over: Found) -> None:
        if key == self._key:
            await self._gate.pass_through()
        await self._bucket.remove(key, over)


def gated(world: World, where: str, *, stopped: bool = False) -> tuple[Deps, Gate]:
    """The exporter's dependencies with a gate in them. Of a process that is stopped the clock stands still too, so it
    renews nothing."""
    gate = Gate()
    deps = replace(world.deps, clock=FrozenClock(world.clock.now())) if stopped else world.deps
    if where == "reading":
        return replace(deps, reader=GatedReader(world.deps.reader, gate)), gate
    return replace(deps, buckets=GatedBuckets(world, gate, where)), gate


@pytest.mark.parametrize("where", ["reading", KEY, MANIFEST])
async def test_an_exporter_that_slept_past_its_lease_cannot_overwrite_what_is_newer(world: World, where: str) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    sleepy, gate = gated(world, where, stopped=True)
    first = asyncio.create_task(export_hour(job(shop), sleepy))
    await asyncio.wait_for(gate.reached.wait(), 10)

    await world.say(shop, [Person("late", HOUR + timedelta(hours=1, microseconds=-1))])
    world.clock.advance(world.deps.lease_s + 1)
    await export_hour(job(shop), world.deps)
    newer = await world.objects()
    gate.opened.set()
    with pytest.raises(Superseded):
        await first

    row = await world.hour(shop)
    say(slept_while=where, rows=row["rows"], epoch=row["epoch"])
    assert await world.objects() == newer
    assert await world.rows(KEY) == shop.exported
    assert (await world.manifest(MANIFEST))["rows"] == 6
    assert (row["state"], row["rows"], row["epoch"]) == ("exported", 6, 2)


async def test_rows_deleted_while_their_exporter_slept_do_not_come_back_to_stay(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    sleepy, gate = gated(world, KEY, stopped=True)
    first = asyncio.create_task(export_hour(job(shop), sleepy))
    await asyncio.wait_for(gate.reached.wait(), 10)
    await world.admin.execute("DELETE FROM generations")
    world.clock.advance(world.deps.lease_s + 1)
    await export_hour(job(shop), world.deps)
    gate.opened.set()
    with pytest.raises(Superseded):
        await first

    assert (await world.hour(shop))["state"] == "pending"  # nothing was there that could have refused the object
    await export_hour(job(shop), world.deps)

    assert set(await world.objects()) == {MANIFEST}
    assert (await world.manifest(MANIFEST))["rows"] == 0


@pytest.mark.parametrize("layout", ["plain", "hive"])
async def test_who_was_deleted_while_their_exporter_slept_does_not_come_back_where_an_object_lay(
    world: World, layout: str
) -> None:
    """Without them the hour is what the bucket holds already: nothing is written meanwhile that could refuse them."""
    shop = await world.shop(layout=layout)
    key = KEY if layout == "plain" else "year=2026/month=11/day=23/hour=10/part-000.parquet"
    await world.say(shop, people(2))
    await export_hour(job(shop), world.deps)
    before, said = await world.objects(), await world.manifest(MANIFEST)
    await world.say(shop, [Person("late", HOUR + timedelta(hours=1, microseconds=-1))])
    sleepy, gate = gated(world, key, stopped=True)
    first = asyncio.create_task(export_hour(job(shop), sleepy))
    await asyncio.wait_for(gate.reached.wait(), 10)

    await world.admin.execute("DELETE FROM generations WHERE user_id = 'late'")
    shop.exported.pop()
    await world.ask(shop, "generations", [HOUR])
    world.clock.advance(world.deps.lease_s + 1)
    await export_hour(job(shop), world.deps)
    unchanged = await world.objects()
    gate.opened.set()
    with pytest.raises(Superseded):
        await first

    assert unchanged == before
    assert (await world.hour(shop))["state"] == "pending"
    await export_hour(job(shop), world.deps)

    row, now = await world.hour(shop), await world.manifest(MANIFEST)
    assert await world.rows(key) == shop.exported
    assert (now["rows"], now["files"][0]["sha256"]) == (2, said["files"][0]["sha256"])
    assert (row["state"], row["sha256"], row["revision"]) == ("exported", now["files"][0]["sha256"], now["revision"])


async def test_an_exporter_that_slept_before_moving_an_hour_takes_nothing_from_where_it_lies_again(
    world: World,
) -> None:
    shop = await world.shop()
    await world.say(shop, people(2))
    await export_hour(job(shop), world.deps)
    await world.set(shop.org_id, layout="hive")
    await world.ask(shop, "generations", [HOUR])
    sleepy, gate = gated(world, KEY, stopped=True)
    first = asyncio.create_task(export_hour(job(shop), sleepy))
    await asyncio.wait_for(gate.reached.wait(), 10)

    await world.set(shop.org_id, layout="plain")
    world.clock.advance(world.deps.lease_s + 1)
    await export_hour(job(shop), world.deps)
    gate.opened.set()
    with pytest.raises(Superseded):
        await first
    await export_hour(job(shop), world.deps)

    assert set(await world.objects()) == {KEY, MANIFEST}
    assert await world.rows(KEY) == shop.exported


async def test_an_exporter_that_slept_before_deleting_cannot_delete_what_is_newer(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    await export_hour(job(shop), world.deps)
    await world.admin.execute("DELETE FROM generations")
    await world.ask(shop, "generations", [HOUR])
    sleepy, gate = gated(world, "reading", stopped=True)
    first = asyncio.create_task(export_hour(job(shop), sleepy))
    await asyncio.wait_for(gate.reached.wait(), 10)

    shop.exported.clear()
    await world.say(shop, people(2))
    world.clock.advance(world.deps.lease_s + 1)
    await export_hour(job(shop), world.deps)
    gate.opened.set()
    with pytest.raises(Superseded):
        await first

    assert await world.rows(KEY) == shop.exported


async def test_a_second_job_for_an_hour_in_work_waits_for_its_lease(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    slow, gate = gated(world, KEY)
    first = asyncio.create_task(export_hour(job(shop), slow))
    await asyncio.wait_for(gate.reached.wait(), 10)

    with pytest.raises(Throttled) as refused:
        await export_hour(job(shop), world.deps)
    gate.opened.set()
    await first
    await export_hour(job(shop), world.deps)

    assert refused.value.wait_s == 300
    assert (await world.hour(shop))["epoch"] == 1  # the repeated job found nothing to do


async def test_a_lease_is_renewed_as_long_as_its_export_runs(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    slow, gate = gated(world, KEY)
    first = asyncio.create_task(export_hour(job(shop), slow))
    await asyncio.wait_for(gate.reached.wait(), 10)

    end = world.clock.now() + timedelta(seconds=800)

    async def renewed() -> None:
        world.clock.advance(5)  # the renewal may not be asleep yet when a single step comes
        assert (await world.hour(shop))["lease_until"] >= world.clock.now() + timedelta(seconds=260)

    while world.clock.now() < end:
        await eventually(renewed)
    gate.opened.set()
    await first

    assert (await world.hour(shop))["state"] == "exported"


async def test_rows_that_come_while_an_hour_is_exported_make_it_dirty_again(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    slow, gate = gated(world, "reading")
    first = asyncio.create_task(export_hour(job(shop), slow))
    await asyncio.wait_for(gate.reached.wait(), 10)

    await world.say(shop, [Person("late", HOUR + timedelta(hours=1, microseconds=-1))])
    gate.opened.set()
    await first

    row = await world.hour(shop)
    assert len(await world.rows(KEY)) == 5
    assert (row["state"], row["exported_seq"] < row["dirty_seq"], row["reason"]) == ("pending", True, "dirty")
    due = await world.store.due(world.clock.now(), HOUR, 10)
    assert [hour.hour for hour in due] == [HOUR]


async def test_an_insert_that_was_under_way_when_the_hour_was_claimed_is_in_the_export(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    inserting = await asyncpg.connect(world.database_url, server_settings={"timezone": "UTC"})
    transaction = inserting.transaction()
    await transaction.start()
    await world.say(shop, [Person("late", HOUR + timedelta(hours=1, microseconds=-1))], inserting)

    exporting = asyncio.create_task(export_hour(job(shop), world.deps))

    async def is_claimed_and_waits() -> None:
        assert (await world.hour(shop))["state"] == "exporting"
        waiting = await world.admin.fetchval(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND NOT l.granted AND a.datname = current_database()"
        )
        assert waiting == 1

    await eventually(is_claimed_and_waits)
    await transaction.commit()
    await inserting.close()
    await exporting

    assert await world.rows(KEY) == shop.exported
    assert (await world.hour(shop))["state"] == "exported"


async def test_rows_of_one_hour_leave_all_other_hours_alone(world: World) -> None:
    shop, neighbour = await world.shop("one", prefix="one"), await world.shop("two", prefix="two")
    for org in (shop, neighbour):
        await world.say(org, people(2) + people(2, hour=HOUR + timedelta(hours=1)))
        for hours in (0, 1):
            await export_hour(job(org, HOUR + timedelta(hours=hours)), world.deps)

    await world.say(shop, [Person("late", HOUR + timedelta(minutes=30))])

    dirty = await world.admin.fetch("SELECT org_id, hour FROM export_hours WHERE dirty_seq > exported_seq")
    assert [tuple(row) for row in dirty] == [(shop.org_id, HOUR)]
