"""A target that is changed: another place begins with all that is kept, and a table that comes in again is mended."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.egress.handler import Hours, export_hour
from services.egress.model import Exported, Lease, Superseded
from services.egress.retention import StoredDays
from services.egress.scheduler import Scheduler
from shared.admin.exports import exports
from shared.db.pool import SCOPE_TO_ORG
from shared.event_lock import LOCK_ORG
from tests.component.admin.rig import Rig, SetClock
from tests.component.egress.mail import INSERT_SEND, changed, sent
from tests.component.egress.shop import HOUR, KEYS, Shop, World, job, people
from tests.component.egress.test_races import Gate, gated
from tests.component.egress.test_switch import Sent, look
from tests.support.waiting import eventually

KEY = "2026/11/23/10/part-000.parquet"
MANIFEST = "_manifests/2026/11/23/10.json"
LATER = HOUR + timedelta(hours=1)


async def say_target(world: World, shop: Shop, **more: Any) -> exports.TargetSaid:
    """As an owner says it; the secret is one that the exporter of the test can open."""
    clock = SetClock()
    clock.at = world.clock.now()
    asked = {"bucket": world.bucket, "endpoint_url": world.endpoints.s3_endpoint, "cadence": "hourly", **more}
    asked |= {"access_key": world.endpoints.s3_access_key, "secret_key": world.endpoints.s3_secret_key}
    said = await Rig(world.db, shop.org_id, clock=clock).run(exports.set_target, asked)
    sealed = KEYS.seal(world.endpoints.s3_secret_key, f"{shop.org_id}/export")
    await world.set(shop.org_id, sealed_secret=sealed)
    return said


async def export_due(world: World) -> list[tuple[str, Any]]:
    """What a look publishes, done."""
    jobs = await look(world)
    for one in jobs:
        await export_hour(one, world.deps)
    return sorted((one.table, one.hour) for one in jobs)


async def waiting(world: World) -> int:
    count: int = await world.admin.fetchval("SELECT count(*) FROM export_hours WHERE dirty_seq > exported_seq")
    return count


async def waits(world: World) -> None:
    """Somebody waits for a lock; other tests' databases lie on the same server."""
    held = await world.admin.fetchval(
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE NOT l.granted AND a.datname = current_database()"
    )
    assert held == 1


async def test_a_table_that_comes_in_again_tells_what_became_known_meanwhile(world: World) -> None:
    shop = await world.shop(cadence="hourly", tables=["outcomes"])
    await world.say(shop, people(1))
    await export_due(world)

    await say_target(world, shop, tables=[])
    await sent(world, shop, "person0", HOUR + timedelta(minutes=3))
    await changed(world, shop, "person0", human_opens=1)
    while_off = await look(world)
    await say_target(world, shop, tables=["outcomes"])
    due = await export_due(world)

    assert (while_off, due) == ([], [("outcomes", HOUR)])
    [row] = await world.rows(f"_tables/outcomes/{KEY}")
    assert (row["sends"], row["opened"]) == (1, True)
    await say_target(world, shop, tables=["outcomes"])
    assert await look(world) == []


async def test_a_file_that_began_before_its_table_was_asked_for_is_waited_for(world: World) -> None:
    """It has marked nothing, and what it brings cannot be seen yet."""
    shop = await world.shop(cadence="hourly", tables=["outcomes"])
    await world.say(shop, people(1))
    await export_due(world)
    await say_target(world, shop, tables=[])
    async with world.db.connection() as file:
        transaction = file.transaction()
        await transaction.start()
        await file.execute(SCOPE_TO_ORG, str(shop.org_id))
        await file.execute(LOCK_ORG, str(shop.org_id))
        await file.execute(INSERT_SEND, shop.org_id, "person0", HOUR + timedelta(minutes=3))
        saying = asyncio.create_task(say_target(world, shop, tables=["outcomes"]))
        await eventually(lambda: waits(world))
        await transaction.commit()
    await saying

    await export_due(world)

    assert [row["sends"] for row in await world.rows(f"_tables/outcomes/{KEY}")] == [1]


async def test_hours_whose_rows_are_gone_stay_as_they_are_when_their_table_comes_in_again(world: World) -> None:
    shop = await world.shop(cadence="hourly", tables=["outcomes"])
    await world.say(shop, people(1))
    await export_due(world)
    await world.admin.execute("INSERT INTO dropped_days VALUES ($1, $2)", HOUR.date(), world.clock.now())

    await say_target(world, shop, tables=[])
    await say_target(world, shop, tables=["outcomes"])

    assert await waiting(world) == 0


async def test_another_place_begins_with_every_hour_that_is_kept(world: World) -> None:
    shop = await world.shop(cadence="hourly", tables=["outcomes"])
    await world.say(shop, people(2) + people(1, hour=LATER, name="later"))
    world.clock.advance(3600)
    found = Sent()
    scheduler = Scheduler(world.store, found, world.clock, settle_s=900, tick_s=60, requeue_s=3600)
    await scheduler.look()
    for one in found.jobs:
        await export_hour(one, world.deps)
    before = await world.objects()
    gone = HOUR - timedelta(days=9)
    await world.admin.execute("INSERT INTO dropped_days VALUES ($1, $2)", gone.date(), world.clock.now())
    await world.admin.execute(
        "INSERT INTO export_hours (org_id, table_name, hour, reason, due_at, exported_seq, rows) "
        "VALUES ($1, 'generations', $2, 'schedule', $2, 1, 7)", shop.org_id, gone,
    )  # fmt: skip
    found.jobs.clear()

    said = await say_target(world, shop, prefix="new", tables=["outcomes"])
    row = await world.hour(shop)
    await scheduler.look()
    for one in found.jobs:
        await export_hour(one, world.deps)

    due = {(one.table, one.hour) for one in found.jobs}
    assert due == {(table, hour) for table in ("generations", "outcomes") for hour in (HOUR, LATER)}
    assert said.anew == 4
    assert [row[name] for name in ("state", "rows", "sha256", "revision")] == ["pending", None, None, None]
    assert await world.objects() == before | {f"new/{key}": etag for key, etag in (await new(world)).items()}
    assert set(await new(world)) == set(before)
    assert await world.rows(f"new/{KEY}") == shop.exported[:2]
    assert (await world.manifest(f"new/{MANIFEST}"))["reason"] == "schedule"
    assert await waiting(world) == 0


async def new(world: World) -> dict[str, str]:
    """What lies below the new prefix, without it."""
    return {key[4:]: etag for key, etag in (await world.objects()).items() if key.startswith("new/")}


async def test_a_day_stays_whose_hours_have_begun_anew(world: World) -> None:
    """Whoever drops it has looked before another place was named."""
    shop = await world.shop(cadence="hourly")
    await world.say(shop, people(1))
    await export_due(world)

    await say_target(world, shop, prefix="new")

    assert not await StoredDays(world.db).drop(HOUR.date(), world.clock.now())
    await export_due(world)
    assert await world.rows(f"new/{KEY}") == shop.exported


async def test_what_is_not_exported_any_more_does_not_begin_anew_until_it_is_again(world: World) -> None:
    shop = await world.shop(cadence="hourly", tables=["outcomes"])
    await world.say(shop, people(1))
    await export_due(world)

    moved = await say_target(world, shop, prefix="new")
    first = await export_due(world)
    await say_target(world, shop, prefix="new", tables=["outcomes"])
    then = await export_due(world)

    assert (moved.anew, first, then) == (1, [("generations", HOUR)], [("outcomes", HOUR)])
    assert f"_tables/outcomes/{KEY}" in await new(world)


class GatedHours:
    """Stops before an export is recorded."""

    def __init__(self, hours: Hours, gate: Gate) -> None:
        self._hours, self._gate = hours, gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hours, name)

    async def finish(self, lease: Lease, exported: Exported, at: Any) -> bool:
        await self._gate.pass_through()
        return await self._hours.finish(lease, exported, at)


@pytest.mark.parametrize("where", ["reading", KEY, MANIFEST, "recording"])
async def test_an_export_that_was_claimed_for_the_old_place_settles_no_hour_of_the_new_one(
    world: World, where: str
) -> None:
    shop = await world.shop(cadence="hourly")
    await world.say(shop, people(3))
    if where == "recording":
        gate = Gate()
        slow = replace(world.deps, hours=GatedHours(world.deps.hours, gate))
    else:
        slow, gate = gated(world, where)
    first = asyncio.create_task(export_hour(job(shop), slow))
    await asyncio.wait_for(gate.reached.wait(), 10)

    said = await say_target(world, shop, prefix="new")
    gate.opened.set()
    with pytest.raises(Superseded):
        await first

    assert (said.anew, await waiting(world), await new(world)) == (1, 1, {})
    await export_hour(job(shop), world.deps)
    assert await world.rows(f"new/{KEY}") == shop.exported
    assert (await world.hour(shop))["state"] == "exported"


async def test_an_hour_that_is_claimed_while_another_place_is_named_waits_and_goes_there(world: World) -> None:
    """It is in no ledger yet, so whoever names the place cannot raise it."""
    shop = await world.shop(cadence="hourly")
    await world.say(shop, people(3))
    naming = await asyncpg.connect(world.database_url)
    transaction = naming.transaction()
    await transaction.start()
    await naming.execute("UPDATE export_targets SET prefix = 'new'")
    exporting = asyncio.create_task(export_hour(job(shop), world.deps))
    await eventually(lambda: waits(world))
    await transaction.commit()
    await naming.close()
    await exporting

    assert set(await world.objects()) == {f"new/{KEY}", f"new/{MANIFEST}"}
