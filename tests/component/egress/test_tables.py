"""The analyst's record, the tables beside it, and the other layout."""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from services.egress.handler import export_hour
from services.egress.scheduler import Scheduler
from shared.admin.results.days import count_day, spread
from shared.exports import VARIANTS_HOUR
from shared.schemas.decisions import OUTSIDE, PLANNED_CONTROL
from shared.schemas.jobs import ExportHourJob
from tests.component.egress.mail import bought, changed, ended, sent
from tests.component.egress.shop import HOUR, Person, Shop, World, job, people

KEY = "2026/11/23/10/part-000.parquet"
HIVE = "year=2026/month=11/day=23/hour=10/part-000.parquet"
MANIFEST = "_manifests/2026/11/23/10.json"
OUTCOMES = f"_tables/outcomes/{KEY}"
VARIANTS = "_tables/variants/part-000.parquet"


def of_outcomes(shop: Shop) -> ExportHourJob:
    return ExportHourJob(org_id=shop.org_id, table="outcomes", hour=HOUR)


def of_variants(shop: Shop) -> ExportHourJob:
    return ExportHourJob(org_id=shop.org_id, table="variants", hour=VARIANTS_HOUR)


def scheduler(world: World) -> Scheduler:
    class Nowhere:
        async def send_jobs(self, *_: object) -> None: ...

    return Scheduler(world.store, Nowhere(), world.clock, settle_s=900, tick_s=300, requeue_s=3600)


def prefix_as_a_table(world: World, prefix: str = "") -> list[dict[str, object]]:
    """Everything that a walker finds who is pointed at the whole prefix."""
    s3 = S3FileSystem(
        endpoint_override=world.endpoints.s3_endpoint, access_key=world.endpoints.s3_access_key,
        secret_key=world.endpoints.s3_secret_key, region="us-east-1",
    )  # fmt: skip
    place = f"{world.bucket}/{prefix}".rstrip("/")
    found = ds.dataset(place, filesystem=s3, format="parquet", partitioning="hive").to_table()
    return list(found.to_pylist(maps_as_pydicts="strict"))


async def test_an_analyst_gets_the_page_s_columns_first_and_then_more_and_control_too(world: World) -> None:
    shop = await world.shop(record="analyst")
    first, second, third = people(3)
    await world.say(shop, [first, replace(second, control=True), third])
    await world.admin.execute(
        "UPDATE generations SET propensity = 0.25, snapshot_id = org_id WHERE decision = 'treatment'"
    )
    await ended(world, shop, first.user_id, "written")
    await ended(world, shop, third.user_id, "expired", "too_late")

    await export_hour(job(shop), world.deps)

    rows = await world.rows(KEY)
    page = list(shop.exported[0])
    assert list(rows[0])[: len(page)] == page
    assert [{name: row[name] for name in page} for row in (rows[0], rows[2])] == shop.exported
    assert (rows[1]["copy_id"], rows[1]["vars"], rows[1]["control"], rows[1]["decision"]) == (
        None,
        None,
        True,
        "control",
    )
    more = ["variant_name", "propensity", "snapshot_id", "control", "decision", "reason", "outcome", "outcome_reason"]
    assert [rows[2][name] for name in more] == [
        "variant 2", 0.25, str(shop.org_id), False, "treatment", "uniform", "expired", "too_late",
    ]  # fmt: skip
    assert [row["event_time"] for row in rows] == [first.accepted_at, second.accepted_at, third.accepted_at]
    stored = await world.admin.fetch("SELECT generation_id::text FROM generations ORDER BY accepted_at")
    assert [row["generation_id"] for row in rows] == [row["generation_id"] for row in stored]
    said = await world.manifest(MANIFEST)
    assert (said["schema_version"], said["rows"], said["rows_without_vars"]) == (2, 3, 0)
    assert (await world.hour(shop))["schema_version"] == 2


async def test_a_changed_record_changes_new_hours_and_old_ones_only_when_they_are_exported_again(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(4))
    await export_hour(job(shop), world.deps)

    await world.set(shop.org_id, record="analyst")
    await export_hour(job(shop), world.deps)
    before = await world.rows(KEY)
    await world.ask(shop, "generations", [HOUR])
    await export_hour(job(shop), world.deps)

    assert before == shop.exported
    assert "generation_id" in (await world.rows(KEY))[0]
    assert ((await world.manifest(MANIFEST))["revision"], (await world.hour(shop))["schema_version"]) == (2, 2)


async def test_the_outcomes_of_an_hour_tell_what_became_of_each_generation(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    first, second, third = people(3)
    await world.say(shop, [first, replace(second, control=True), third, Person("looked", HOUR, preview="preview")])
    definition = {"metrics": ["Placed Order"], "currency": "EUR", "window_h": 24}
    async with world.db.transaction() as connection:
        await connection.execute("UPDATE templates SET conversions = $1", definition)
    await sent(world, shop, first.user_id, HOUR + timedelta(minutes=3))
    await changed(world, shop, first.user_id, human_opens=2, human_clicks=1)
    await bought(world, shop, first.user_id, HOUR + timedelta(hours=1), 19.99)
    await sent(world, shop, second.user_id, HOUR + timedelta(minutes=33))
    await changed(world, shop, second.user_id, machine_opens=1, unsubscribed=True)

    await export_hour(of_outcomes(shop), world.deps)

    rows = await world.rows(OUTCOMES)
    assert [row["user_id"] for row in rows] == ["person0", "person1", "person2"]
    assert rows[0] | {"generation_id": "", "copy_id": ""} == {
        "event_timestamp": int(HOUR.timestamp()), "generation_id": "", "user_id": "person0",
        "tracking_id": "person0.FLOW.ACTION", "template_id": "welcome", "copy_id": "", "control": False, "sends": 1,
        "sent_at": HOUR + timedelta(minutes=3), "delivered": True, "opened": True, "clicked": True, "bounced": False,
        "unsubscribed": False, "spam": False, "conversions": 1, "revenue": 19.99, "currency": "EUR",
        "decision": "treatment", "reason": "uniform",
    }  # fmt: skip
    told = ["control", "sends", "delivered", "opened", "unsubscribed", "conversions", "revenue"]
    assert [rows[1][name] for name in told] == [True, 1, True, False, True, 0, 0.0]
    assert [rows[2][name] for name in told] == [False, 0, False, False, False, 0, None]
    said = await world.manifest("_manifests/outcomes/2026/11/23/10.json")
    assert (said["table"], said["rows"], said["files"][0]["key"]) == ("outcomes", 3, OUTCOMES)
    assert (said["schema_version"], (await world.hour(shop))["schema_version"]) == (2, 2)


async def test_the_arms_of_the_outcomes_are_those_of_the_results(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    shown = people(3, name="shown")
    reasons = {
        "split": "control_split", "held": "control_holdout", "missing": "field_missing", "large": "body_too_large",
        "draft": "template_draft", "stopped": "stopped", "none": "no_approved_variant",
    }  # fmt: skip
    await world.say(shop, [*shown, *(Person(name, HOUR, control=True) for name in reasons)])
    for name, reason in reasons.items():
        await world.admin.execute("UPDATE generations SET reason = $2 WHERE user_id = $1", name, reason)

    await export_hour(of_outcomes(shop), world.deps)
    async with world.db.transaction(shop.org_id) as connection:
        counted, _ = await count_day(connection, shop.org_id, HOUR.date())

    arms = Counter(arm for row in await world.rows(OUTCOMES) if (arm := arm_of(row)))
    results: Counter[str] = Counter()
    for key, counts in spread(counted).items():
        if not key.attr:
            results["control" if key.control else "treatment"] += counts[0]
    assert arms == results == {"treatment": 5, "control": 2}


def arm_of(row: dict[str, object]) -> str | None:
    """As the page says it."""
    if row["decision"] == "treatment":
        return "treatment"
    if row["reason"] in PLANNED_CONTROL:
        return "control"
    return None if row["reason"] in OUTSIDE else "treatment"


async def test_outcomes_of_the_earlier_version_are_read_beside_those_of_now(world: World, tmp_path: Path) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, people(2))
    await export_hour(of_outcomes(shop), world.deps)
    (tmp_path / "now.parquet").write_bytes(await world.content(OUTCOMES))
    earlier = pq.read_table(tmp_path / "now.parquet").drop_columns(["decision", "reason"])
    pq.write_table(earlier, tmp_path / "earlier.parquet")

    read = duckdb.execute(
        "SELECT count(*), count(reason) FROM read_parquet(?, union_by_name = true)", [f"{tmp_path}/*.parquet"]
    ).fetchone()

    assert read == (4, 2)


async def test_who_reads_the_whole_prefix_meets_the_record_alone(world: World) -> None:
    shop = await world.shop(tables=["outcomes", "variants"], success_file=True)
    await world.say(shop, people(5))

    for one in (job(shop), of_outcomes(shop), of_variants(shop)):
        await export_hour(one, world.deps)

    assert prefix_as_a_table(world) == shop.exported
    assert len(prefix_as_a_table(world, "_tables/outcomes")) == 5
    assert len(prefix_as_a_table(world, "_tables/variants")) == 3


async def test_the_table_of_variants_says_what_is_served_and_since_when(world: World) -> None:
    shop = await world.shop(tables=["variants"])
    await world.say(shop, people(1))
    source = shop.sources[0]
    await world.admin.execute(
        "INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at) "
        "VALUES ($1, $2, 2, 'Hello', 'Look', '<p>new</p>', $3)",
        shop.org_id, source.copy_id, world.clock.now(),
    )  # fmt: skip
    await world.admin.execute("UPDATE variants SET version = 2, theme = 'warm' WHERE copy_id = $1", source.copy_id)
    await world.admin.execute(
        "INSERT INTO result_counts (org_id, template_id, attr, day, value, control, external, copy_id, assigned, "
        "written, sent, delivered, opened, machine_opened, clicked, bot_clicked, unsubscribed, spam, driven_away) "
        "VALUES ($1, 'welcome', '', '2026-03-01', '', false, false, $2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
        shop.org_id, source.copy_id,
    )  # fmt: skip

    await export_hour(of_variants(shop), world.deps)

    rows = {row["copy_id"]: row for row in await world.rows(VARIANTS)}
    assert len(rows) == 3
    changed_one = rows[str(source.copy_id)]
    hashed = hashlib.sha256(b"Hello\0Look\0<p>new</p>").hexdigest()
    assert [changed_one[name] for name in ("template_name", "variant_name", "theme", "status", "version")] == [
        "Welcome", "variant 0", "warm", "approved", 2,
    ]  # fmt: skip
    assert changed_one["vars"] == {"subject": "Hello", "preheader": "Look", "body": "<p>new</p>"}
    assert (changed_one["content_sha256"], [one["version"] for one in changed_one["versions"]]) == (hashed, [1, 2])
    assert changed_one["versions"][1]["content_sha256"] == hashed
    assert (changed_one["first_used"], changed_one["last_used"]) == (date(2026, 3, 1), date(2026, 11, 23))
    unused = rows[str(shop.sources[1].copy_id)]
    assert (unused["first_used"], unused["last_used"]) == (None, None)


async def test_the_variants_are_asked_for_once_when_a_day_has_closed_and_uploaded_when_they_changed(
    world: World,
) -> None:
    shop = await world.shop(tables=["variants"])
    looking = scheduler(world)

    async def exported_after_a_look() -> tuple[int, int]:
        await looking.look()
        await export_hour(of_variants(shop), world.deps)
        row = await world.hour(shop, VARIANTS_HOUR)
        return row["exported_seq"], row["revision"]

    first = await exported_after_a_look()
    again = await exported_after_a_look()
    world.clock.advance(24 * 3600)
    unchanged = await exported_after_a_look()
    await world.admin.execute("UPDATE variants SET theme = 'cold'")
    same_day = await exported_after_a_look()
    world.clock.advance(24 * 3600)
    next_day = await exported_after_a_look()

    assert [first, again, unchanged, same_day, next_day] == [(1, 1), (1, 1), (2, 1), (2, 1), (3, 3)]


async def test_what_becomes_of_emails_raises_exactly_the_hours_of_their_generations_once(world: World) -> None:
    shop = await world.shop("one", prefix="one", tables=["outcomes"], cadence="hourly")
    other = await world.shop("two", prefix="two", cadence="hourly")
    for org in (shop, other):
        await world.say(org, people(2, name=org.sources[0].copy_id.hex) + people(1, hour=HOUR + timedelta(hours=1)))
        for hours in (0, 1):
            for table in ("generations", "outcomes"):
                wanted = ExportHourJob(org_id=org.org_id, table=table, hour=HOUR + timedelta(hours=hours))
                await export_hour(wanted, world.deps)

    for org in (shop, other):
        for n in (0, 1):
            person = f"{org.sources[0].copy_id.hex}{n}"
            await sent(world, org, person, HOUR + timedelta(minutes=4))
            await changed(world, org, person, human_opens=1)
            await ended(world, org, person, "written")
    await scheduler(world).look()

    dirty = await world.admin.fetch(
        "SELECT org_id, table_name, hour, dirty_seq, due_at FROM export_hours WHERE dirty_seq > exported_seq"
    )
    assert [tuple(row) for row in dirty] == [
        (shop.org_id, "outcomes", HOUR, 2, world.clock.now() + timedelta(hours=1))
    ]  # an hour and not ten seconds later: what trickles in is written together
    assert await world.admin.fetchval("SELECT count(*) FROM export_marks") == 0


async def test_a_second_open_and_a_machine_s_change_nothing_and_raise_nothing(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, people(1))
    await sent(world, shop, "person0", HOUR + timedelta(minutes=4))
    await changed(world, shop, "person0", human_opens=1)
    await world.admin.execute("DELETE FROM export_marks")

    await changed(world, shop, "person0", human_opens=2, machine_opens=3)
    quiet = await world.admin.fetchval("SELECT count(*) FROM export_marks")
    await bought(world, shop, "person0", HOUR + timedelta(hours=1), 5)
    await world.admin.execute("DELETE FROM conversions")
    earned = await world.admin.fetch("SELECT table_name, hour FROM export_marks")

    assert quiet == 0
    assert [tuple(row) for row in earned] == [("outcomes", HOUR)] * 2


async def test_how_writes_ended_raises_the_analyst_s_hours(world: World) -> None:
    shop = await world.shop(record="analyst", cadence="hourly")
    await world.say(shop, people(2))
    await export_hour(job(shop), world.deps)

    await ended(world, shop, "person1", "written")
    await scheduler(world).look()
    row = await world.hour(shop)
    await export_hour(job(shop), world.deps)

    assert (row["state"], row["reason"], row["dirty_seq"]) == ("pending", "dirty", 2)
    assert [one["outcome"] for one in await world.rows(KEY)] == [None, "written"]


async def test_after_thirty_days_an_hour_is_left_as_it_is(world: World) -> None:
    shop = await world.shop(tables=["outcomes"])
    await world.say(shop, people(1))
    await export_hour(of_outcomes(shop), world.deps)
    world.clock.advance(31 * 24 * 3600)

    await sent(world, shop, "person0", HOUR + timedelta(minutes=4))
    await scheduler(world).look()

    row = await world.admin.fetchrow(
        "SELECT dirty_seq, exported_seq FROM export_hours WHERE table_name = 'outcomes' AND hour = $1", HOUR
    )
    assert row is not None
    assert tuple(row) == (1, 1)


async def test_hive_folders_carry_the_hour_as_columns(world: World) -> None:
    shop = await world.shop(layout="hive")
    await world.say(shop, people(3))

    await export_hour(job(shop), world.deps)

    assert list(await world.objects()) == [MANIFEST, HIVE]
    rows = prefix_as_a_table(world)
    assert [row.pop("hour") for row in rows] == [10] * 3
    assert {(row.pop("year"), row.pop("month"), row.pop("day")) for row in rows} == {(2026, 11, 23)}
    assert rows == shop.exported


@pytest.mark.parametrize("deleted", [False, True], ids=["with rows", "without rows"])
async def test_an_hour_never_lies_in_two_layouts(world: World, *, deleted: bool) -> None:
    shop = await world.shop(success_file=True)
    await world.say(shop, people(3))
    await export_hour(job(shop), world.deps)
    if deleted:
        await world.admin.execute("DELETE FROM generations")

    await world.set(shop.org_id, layout="hive")
    await world.ask(shop, "generations", [HOUR])
    await export_hour(job(shop), world.deps)

    marker = HIVE.replace("part-000.parquet", "_SUCCESS")
    assert sorted(await world.objects()) == [MANIFEST, marker] + ([] if deleted else [HIVE])
    said = await world.manifest(MANIFEST)
    assert [one["key"] for one in said["files"]] == ([] if deleted else [HIVE])
    assert said["revision"] == 2


async def test_a_success_file_is_put_there_when_it_is_asked_for_later(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(3))
    await export_hour(job(shop), world.deps)
    before = (await world.objects())[KEY]

    await world.set(shop.org_id, success_file=True)
    await world.ask(shop, "generations", [HOUR])
    await export_hour(job(shop), world.deps)

    assert (await world.objects())[KEY] == before
    assert await world.content("2026/11/23/10/_SUCCESS") == b""


async def test_duckdb_reads_the_versions_of_the_files_together(world: World, tmp_path: Path) -> None:
    shop = await world.shop()
    later = HOUR + timedelta(hours=1)
    await world.say(shop, people(2) + people(2, hour=later, name="later"))
    await export_hour(job(shop), world.deps)
    await world.set(shop.org_id, record="analyst")
    await export_hour(job(shop, later), world.deps)
    for n, key in enumerate((KEY, KEY.replace("/10/", "/11/"))):
        (tmp_path / f"{n}.parquet").write_bytes(await world.content(key))

    read = duckdb.execute(
        "SELECT count(*), count(generation_id), count(vars.body) FROM read_parquet(?, union_by_name = true)",
        [f"{tmp_path}/*.parquet"],
    ).fetchone()

    assert read == (4, 2, 4)
