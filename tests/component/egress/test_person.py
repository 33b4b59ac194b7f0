"""Who is deleted is in no object any more, and every manifest that was written for it says so without a name."""

import asyncio
import io
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pyarrow.parquet as pq
import pytest

from services.egress.handler import export_hour
from shared.admin.person import person as operations_person
from shared.schemas.jobs import ExportHourJob
from tests.component.admin.rig import Rig, SetClock
from tests.component.egress.mail import bought, changed, ended, sent
from tests.component.egress.shop import HOUR, Person, Shop, World, job, people
from tests.component.egress.test_races import gated
from tests.support.waiting import eventually

KEY = "2026/11/23/10/part-000.parquet"
MANIFEST = "_manifests/2026/11/23/10.json"
WHO = "01HPERSONTOFORGET"


async def delete(world: World, shop: Shop) -> operations_person.Deleted:
    clock = SetClock()
    clock.at = world.clock.now()
    return await Rig(world.db, shop.org_id, clock=clock).run(operations_person.delete, {"user_id": WHO})


async def export_what_is_due(world: World) -> list[tuple[str, Any]]:
    due = await world.store.due(world.clock.now(), world.clock.now(), 100)
    for one in due:
        wanted = ExportHourJob(org_id=one.org_id, table=one.table, hour=one.hour, reason=one.reason)
        await export_hour(wanted, world.deps)
    return sorted((one.table, one.hour) for one in due)


async def objects_that_name_them(world: World) -> list[str]:
    """Parquet decoded, everything else as it is."""
    found = []
    for key in await world.objects():
        content = await world.content(key)
        said = str(pq.read_table(io.BytesIO(content)).to_pylist()) if key.endswith(".parquet") else content.decode()
        if WHO in said:
            found.append(key)
    return sorted(found)


@pytest.mark.parametrize("layout", ["plain", "hive"])
async def test_no_object_holds_who_was_deleted_and_hours_without_them_are_left_alone(world: World, layout: str) -> None:
    shop = await world.shop(record="analyst", tables=["outcomes", "variants"], layout=layout)
    later, quiet = HOUR + timedelta(hours=1), HOUR - timedelta(hours=1)
    await world.say(shop, [*people(2), Person(WHO, HOUR + timedelta(minutes=59, seconds=59), {"plan": "pro"})])
    await world.say(shop, [Person(WHO, later, control=True), *people(2, hour=quiet, name="quiet")])
    await sent(world, shop, "person0", HOUR + timedelta(minutes=3))
    for hour in (quiet, HOUR, later):
        for table in ("generations", "outcomes"):
            await export_hour(ExportHourJob(org_id=shop.org_id, table=table, hour=hour), world.deps)
    named = await objects_that_name_them(world)
    before = await world.objects()

    done = await delete(world, shop)
    exported = await export_what_is_due(world)

    assert len(named) == 4
    assert done.export_hours == 2
    assert exported == [(table, hour) for table in ("generations", "outcomes") for hour in (HOUR, later)]
    assert await objects_that_name_them(world) == []
    after = await world.objects()
    assert {key for key in before if before[key] == after.get(key)} == {
        key for key in before if "/09" in key or "hour=09" in key
    }
    said = await world.manifest(MANIFEST)
    assert (said["rows"], said["revision"], said["reason"], said["people_deleted"]) == (2, 2, "person_deleted", 1)


async def test_what_became_of_their_emails_goes_too(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, [*people(1), Person(WHO, HOUR + timedelta(minutes=59, seconds=59))])
    await sent(world, shop, WHO, HOUR + timedelta(hours=1))
    await changed(world, shop, WHO, human_clicks=1)
    await bought(world, shop, WHO, HOUR + timedelta(hours=1), 9)
    await ended(world, shop, WHO, "written")
    wanted = ExportHourJob(org_id=shop.org_id, table="outcomes", hour=HOUR)
    await export_hour(wanted, world.deps)
    named = await objects_that_name_them(world)

    await delete(world, shop)
    await export_what_is_due(world)

    assert named == [f"_tables/outcomes/{KEY}"]
    assert await objects_that_name_them(world) == []


async def test_control_rows_leave_hours_alone_that_never_held_any(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, [*people(1), Person(WHO, HOUR + timedelta(minutes=59, seconds=59), control=True)])
    await export_hour(job(shop), world.deps)

    done = await delete(world, shop)

    assert (done.generations, done.export_hours) == (1, 0)
    assert (await world.hour(shop))["people_deleted"] == 0


async def test_a_record_that_was_larger_once_is_cleaned_all_the_same(world: World) -> None:
    shop = await world.shop(record="analyst")
    await world.say(shop, [*people(1), Person(WHO, HOUR + timedelta(minutes=59, seconds=59), control=True)])
    await export_hour(job(shop), world.deps)
    named = await objects_that_name_them(world)

    await world.set(shop.org_id, record="page")
    await delete(world, shop)
    await export_what_is_due(world)

    assert named == [KEY]
    assert await objects_that_name_them(world) == []


async def test_a_late_row_does_not_hide_that_somebody_was_deleted(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, [*people(1), Person(WHO, HOUR + timedelta(minutes=59, seconds=59))])
    await export_hour(job(shop), world.deps)

    await delete(world, shop)
    await world.say(shop, [Person("late", HOUR + timedelta(minutes=59, seconds=59, milliseconds=999))])
    await world.ask(shop, "generations", [HOUR])
    await export_what_is_due(world)

    said = await world.manifest(MANIFEST)
    assert (said["rows"], said["reason"], said["people_deleted"]) == (2, "person_deleted", 1)


async def test_who_is_deleted_while_their_hour_is_exported_is_gone_after_the_next_export(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, [*people(1), Person(WHO, HOUR + timedelta(minutes=59, seconds=59))])
    slow, gate = gated(world, "reading")
    first = asyncio.create_task(export_hour(job(shop), slow))
    await asyncio.wait_for(gate.reached.wait(), 10)

    await delete(world, shop)
    gate.opened.set()
    await first
    named = await objects_that_name_them(world)
    await export_what_is_due(world)

    assert named == [KEY]
    assert await objects_that_name_them(world) == []


async def test_an_hour_that_is_first_exported_during_a_deletion_waits_for_it(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, [*people(1), Person(WHO, HOUR + timedelta(minutes=59, seconds=59))])
    holding = await asyncpg.connect(world.database_url)
    transaction = holding.transaction()
    await transaction.start()
    await holding.execute("SELECT FROM generations WHERE user_id = $1 FOR UPDATE", WHO)
    deleting = asyncio.create_task(delete(world, shop))

    async def waits(count: int) -> None:
        found = await world.admin.fetchval(  # other tests' databases lie on the same server
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE NOT l.granted AND a.datname = current_database()"
        )
        assert found == count, found

    await eventually(lambda: waits(1))  # it has looked for hours to mark, and found none
    exporting = asyncio.create_task(export_hour(job(shop), world.deps))
    await eventually(lambda: waits(2))
    await transaction.rollback()
    await holding.close()
    await deleting
    await exporting

    assert await objects_that_name_them(world) == []
    assert (await world.hour(shop))["rows"] == 1


def test_a_deletion_is_no_reason_that_a_message_knows() -> None:
    """Exporters of the release before would refuse it; what they are told is that the hour is dirty."""
    with pytest.raises(ValueError, match="person_deleted"):
        ExportHourJob.model_validate(
            {"org_id": "00000000-0000-0000-0000-000000000001", "hour": HOUR, "reason": "person_deleted"}
        )


async def test_the_job_of_a_deletion_is_published_as_that_of_a_dirty_hour(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, [Person(WHO, HOUR)])
    await export_hour(job(shop), world.deps)
    await delete(world, shop)

    due = await world.store.due(world.clock.now(), world.clock.now(), 10)

    assert [one.reason for one in due] == ["dirty"]
    assert replace(due[0], reason="dirty") == due[0]
