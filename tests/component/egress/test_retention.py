"""Old days of generations go when nobody needs them any more, and nothing that was made of them changes."""

import asyncio
import logging
from datetime import date, timedelta
from uuid import uuid4

import asyncpg
import pytest

from services.egress.handler import export_hour
from services.egress.retention import Retention, StoredDays
from services.egress.scheduler import Scheduler
from services.ingest.counting import results as counting
from services.ingest.counting import shown
from shared.db import days as partitions
from shared.exports import hours_between
from shared.schemas.jobs import ExportHourJob
from tests.component.egress.mail import changed, ended, sent
from tests.component.egress.shop import HOUR, Person, Shop, World, job, people

KEY = "2026/11/23/10/part-000.parquet"
DAY = HOUR.date()
AT_ONCE = timedelta(0)
PACE = counting.Pace(AT_ONCE, AT_ONCE, AT_ONCE, AT_ONCE, AT_ONCE, timedelta(minutes=5))
SHOWN_PACE = shown.Pace(AT_ONCE, AT_ONCE, AT_ONCE, timedelta(minutes=5))


class Nowhere:
    async def send_jobs(self, *_: object) -> None: ...


def keeper(world: World) -> Retention:
    return Retention(StoredDays(world.db), world.clock, 100)


def wait_until_old(world: World) -> None:
    world.clock.advance(102 * 24 * 3600)


async def export_day(world: World, shop: Shop, *tables: str) -> None:
    day = HOUR.replace(hour=0)
    for hour in hours_between(HOUR, day + timedelta(days=1)):
        for table in ("generations", *tables):
            await export_hour(ExportHourJob(org_id=shop.org_id, table=table, hour=hour), world.deps)


async def count(world: World) -> None:
    """As ingest does it, until nothing is left to count."""
    days = counting.StoredCounts(world.db, uuid4, PACE)
    quarters = shown.StoredShownCounts(world.db, uuid4, SHOWN_PACE)
    await world.admin.execute(
        "INSERT INTO result_days (org_id, day) SELECT DISTINCT org_id, day FROM generations ON CONFLICT DO NOTHING"
    )
    for _ in range(30):
        await quarters.take_marks(world.clock.now())  # first: generations that came raise their day
        await days.count_day(world.clock.now())
        await quarters.count_quarter(world.clock.now())


async def old_day(world: World, many: int = 2) -> Shop:
    """An org whose day, of so many people, is exported, counted, and may go."""
    shop = await world.shop()
    await world.say(shop, people(many))
    await export_day(world, shop)
    wait_until_old(world)
    await count(world)
    return shop


async def kept_days(world: World) -> list[str]:
    return await tables_of(world, "generations")


async def tables_of(world: World, parent: str) -> list[str]:
    """Its partitions."""
    rows = await world.admin.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1",
        parent,
    )
    return [row["name"] for row in rows]


async def results(world: World) -> list[object]:
    """What pages and fits read of the day."""
    return [
        [tuple(row) for row in await world.admin.fetch(statement)]
        for statement in (
            "SELECT * FROM result_counts ORDER BY attr, value, control, copy_id",
            "SELECT * FROM shown_counts ORDER BY span, at, template_id, decision, decided, outcome, shown, because",
            "SELECT transmission_id, attribution, generation_id, template_id, copy_id, cell FROM sends ORDER BY 1",
        )
    ]


async def test_a_day_that_is_exported_and_counted_goes_and_leaves_objects_and_results(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, [*people(4), Person("kept back", HOUR + timedelta(minutes=59, seconds=59), control=True)])
    await world.say(shop, people(1, hour=HOUR + timedelta(days=30)))
    for n in range(4):
        await ended(world, shop, f"person{n}", "written") if n else None
    await sent(world, shop, "person1", HOUR + timedelta(minutes=40))
    await export_day(world, shop, "outcomes")
    wait_until_old(world)
    await count(world)
    before, objects = await results(world), await world.objects()

    dropped = await keeper(world).look()
    await changed(world, shop, "person1", human_opens=1, generation_id=None, generation_day=None, template_id=None,
                  copy_id=None, attribution="no_generation")  # fmt: skip
    await world.admin.execute("UPDATE result_days SET revision = revision + 1")
    world.clock.advance(60)
    await world.admin.execute(
        "UPDATE shown_quarters SET revision = revision + 1 WHERE at < $1", HOUR + timedelta(days=1)
    )
    await count(world)

    assert dropped == [DAY]
    assert await kept_days(world) == ["generations_20261223"]
    assert await world.admin.fetchval("SELECT to_regclass('dropped_generations_20261123')") is None
    assert len(before) == 3
    assert all(before)
    assert await results(world) == before
    assert await world.objects() == objects
    assert await world.admin.fetchval("SELECT count(*) FROM result_days WHERE counted < revision") == 0
    assert await world.admin.fetchval("SELECT count(*) FROM shown_quarters WHERE counted < revision") == 0


async def test_how_its_writes_ended_and_its_other_ids_go_after_a_day(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, people(2))
    await world.say(shop, [Person("young", HOUR + timedelta(days=30))])
    for name in ("person0", "young"):
        await ended(world, shop, name, "written")
    await world.admin.execute(
        "INSERT INTO generation_aliases SELECT gen_random_uuid(), org_id, generation_id, day, accepted_at"
        " FROM generations"
    )
    await export_day(world, shop, "outcomes")
    wait_until_old(world)
    await count(world)

    dropped = await keeper(world).look()
    await world.admin.execute("SELECT ensure_partition('write_outcomes', $1)", DAY)  # a late end of a write
    again = await tables_of(world, "write_outcomes")
    await keeper(world).look()

    assert dropped == [DAY]
    assert again == ["write_outcomes_20261123", "write_outcomes_20261223"]
    assert await tables_of(world, "write_outcomes") == ["write_outcomes_20261223"]
    assert await world.admin.fetchval("SELECT count(*) FROM write_outcomes") == 1
    assert [row["day"] for row in await world.admin.fetch("SELECT day FROM generation_aliases")] == [
        DAY + timedelta(days=30)
    ]
    assert (
        await world.admin.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'dropped_write_outcomes_%'") == 0
    )


async def test_how_the_writes_of_a_day_that_stays_ended_stays_too(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, people(2))
    await ended(world, shop, "person0", "written")
    wait_until_old(world)
    await count(world)

    assert await keeper(world).look() == []
    assert await tables_of(world, "write_outcomes") == ["write_outcomes_20261123"]


async def test_a_day_with_an_hour_that_is_blocked_stays_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    shop, silent = await world.shop("one", prefix="one"), await world.shop("two", prefix="two")
    for org in (shop, silent):
        await world.say(org, people(2))
    await world.admin.execute("DELETE FROM export_targets WHERE org_id = $1", silent.org_id)
    await export_day(world, shop)
    await world.ask(shop, "generations", [HOUR])
    await world.admin.execute("UPDATE export_hours SET state = 'blocked', error = 's3_403: no' WHERE hour = $1", HOUR)
    wait_until_old(world)
    await count(world)

    with caplog.at_level(logging.ERROR):
        held = await keeper(world).look()
    await world.admin.execute("UPDATE export_hours SET state = 'pending'")
    await export_hour(job(shop), world.deps)
    dropped = await keeper(world).look()

    assert (held, dropped) == ([], [DAY])
    assert "1 hours of generations are not exported (s3_403: no)" in str([vars(one) for one in caplog.records])


class HeldBefore(StoredDays):
    """Something holds all days before `DAY`."""

    async def holds(self, day: date) -> list[str]:
        return ["an org's bucket refuses them"] if day < DAY else await super().holds(day)


async def test_a_month_of_days_that_are_held_keeps_no_younger_one(world: World) -> None:
    held = [DAY - timedelta(days=n) for n in range(40, 0, -1)]
    for day in (*held, DAY):
        await world.admin.execute("SELECT ensure_partition('generations', $1)", day)
    wait_until_old(world)

    assert await Retention(HeldBefore(world.db), world.clock, 100).look() == [DAY]
    assert len(await kept_days(world)) == len(held)


@pytest.mark.parametrize("missing", ["never exported", "outcomes", "not counted", "on a profile"])
async def test_a_day_that_is_still_needed_stays(world: World, missing: str) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, people(2))
    if missing != "never exported":
        await export_day(world, shop, *(() if missing == "outcomes" else ("outcomes",)))
    wait_until_old(world)
    if missing != "not counted":
        await count(world)
    if missing == "on a profile":
        await world.admin.execute(
            "INSERT INTO profile_state (account_key, profile_id, prefix, org_id, state, day, generation_id, "
            "written_for, accepted_at, clean_at) VALUES ('a', 'p', 'jai', $1, 'unknown', $2, $3, 'welcome', $4, $4)",
            shop.org_id, DAY, uuid4(), HOUR,
        )  # fmt: skip

    assert await keeper(world).look() == []
    assert await kept_days(world) == ["generations_20261123"]


@pytest.mark.parametrize("exported_before", [True, False], ids=["a deletion waits", "never exported"])
async def test_a_day_that_waits_only_because_exports_are_off_is_kept_until_they_are_on(
    world: World, caplog: pytest.LogCaptureFixture, exported_before: bool
) -> None:
    shop = await world.shop()
    await world.say(shop, people(2))
    if exported_before:
        await export_day(world, shop)
        await world.admin.execute(
            "UPDATE export_hours SET dirty_seq = 2, reason = 'person_deleted' WHERE hour = $1", HOUR
        )
    await world.set(shop.org_id, enabled=False)
    wait_until_old(world)
    await count(world)

    held = await keeper(world).look()
    await export_day(world, shop)
    still_held = await keeper(world).look()
    await world.set(shop.org_id, enabled=True)
    await export_day(world, shop)

    assert (held, still_held) == ([], [])
    assert "shop: 1 hours of generations are not exported; exports are off" in str(
        [record.__dict__ for record in caplog.records if record.message == "retention.kept"]
    )
    assert await keeper(world).look() == [DAY]


async def test_a_row_that_comes_after_its_day_went_never_costs_the_customer_an_hour(world: World) -> None:
    shop = await old_day(world, 5)
    await keeper(world).look()
    before = await world.objects()

    await world.say(shop, [Person("very late", HOUR)])
    await export_hour(job(shop), world.deps)
    row = await world.hour(shop)

    assert await world.objects() == before
    assert (row["state"], row["error"].partition(":")[0], row["rows"]) == ("blocked", "rows_are_gone", 5)


async def test_an_hour_of_a_lost_ledger_is_not_taken_from_the_customer(world: World) -> None:
    shop = await old_day(world, 5)
    await keeper(world).look()
    before = await world.objects()

    await world.admin.execute("DELETE FROM export_hours")
    await export_hour(job(shop), world.deps)

    assert await world.objects() == before
    assert (await world.hour(shop))["state"] == "blocked"


async def test_inserts_do_not_wait_for_a_day_that_cannot_be_taken_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "TRIES", 3)
    shop = await old_day(world)
    today = world.clock.now()
    await world.admin.execute("SELECT ensure_partition('generations', $1)", today.date())
    reading = await asyncpg.connect(world.database_url)
    transaction = reading.transaction()
    await transaction.start()
    await reading.execute("SELECT count(*) FROM generations")

    trying = asyncio.create_task(keeper(world).look())
    inserted = 0
    while not trying.done():
        async with asyncio.timeout(20):  # a lock that is waited for as usual would be waited for until the reader ends
            await world.say(shop, [Person(f"new{inserted}", today)])
        inserted += 1
    await transaction.rollback()
    await reading.close()

    assert await trying == []
    assert inserted > 1
    assert await keeper(world).look() == [DAY]


async def test_an_hour_that_becomes_dirty_at_the_last_moment_keeps_its_day(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(2))
    await export_day(world, shop)
    wait_until_old(world)
    days = StoredDays(world.db)
    await world.say(shop, [Person("late", HOUR)])  # after everything was asked, before the lock

    assert not await days.drop(DAY, world.clock.now())
    assert await kept_days(world) == ["generations_20261123"]


async def test_what_a_crash_left_between_taking_out_and_deleting_is_deleted_later(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(2))
    await world.admin.execute("SELECT detach_generations($1)", DAY)
    left = await world.admin.fetchval("SELECT to_regclass('dropped_generations_20261123')::text")

    await keeper(world).look()

    assert left == "dropped_generations_20261123"
    assert await world.admin.fetchval("SELECT to_regclass('dropped_generations_20261123')::text") is None


async def test_the_scheduler_opens_nothing_of_days_that_went(world: World) -> None:
    shop = await old_day(world)
    await keeper(world).look()
    await world.say(shop, people(2, hour=HOUR + timedelta(days=101)))

    await Scheduler(world.store, Nowhere(), world.clock, settle_s=900, tick_s=300, requeue_s=3600).look()

    due = await world.admin.fetch("SELECT min(hour) AS first FROM export_hours WHERE dirty_seq > exported_seq")
    assert due[0]["first"].date() > DAY
    assert isinstance(due[0]["first"].date(), date)
