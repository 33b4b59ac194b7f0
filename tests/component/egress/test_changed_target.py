"""A target that is changed: a table that comes in again is mended."""

import asyncio
from datetime import timedelta
from typing import Any

from services.egress.handler import export_hour
from shared.admin.exports import exports
from shared.db.pool import SCOPE_TO_ORG
from shared.event_lock import LOCK_ORG
from tests.component.admin.rig import Rig, SetClock
from tests.component.egress.mail import INSERT_SEND, changed, sent
from tests.component.egress.shop import HOUR, KEYS, Shop, World, people
from tests.component.egress.test_switch import look
from tests.support.waiting import eventually

KEY = "2026/11/23/10/part-000.parquet"


async def say_target(world: World, shop: Shop, **more: Any) -> exports.Target:
    """As an owner says it; the secret is one that the exporter of the test can open."""
    clock = SetClock()
    clock.at = world.clock.now()
    asked = {"bucket": world.bucket, "endpoint_url": world.endpoints.s3_endpoint, "cadence": "hourly", **more}
    said = await Rig(world.db, shop.org_id, clock=clock).run(exports.set_target, asked)
    sealed = KEYS.seal(world.endpoints.s3_secret_key, f"{shop.org_id}/export")
    await world.set(shop.org_id, access_key=world.endpoints.s3_access_key, sealed_secret=sealed)
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
