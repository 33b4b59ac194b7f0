"""One hour from PostgreSQL to S3 and back."""

import io
import random
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg
import duckdb
import pytest

from services.egress.handler import export_hour, export_hours
from services.egress.model import Found
from services.egress.s3 import S3, S3Options
from tests.component.egress.shop import HOUR, Person, World, job, people

KEY = "2026/11/23/10/part-000.parquet"
MANIFEST = "_manifests/2026/11/23/10.json"


async def test_what_duckdb_and_pyarrow_read_is_what_the_hour_held(world: World, tmp_path: Path) -> None:
    shop = await world.shop()
    await world.say(shop, people(2500))

    await export_hour(job(shop), world.deps)

    assert await world.rows(KEY) == shop.exported
    file = tmp_path / "hour.parquet"
    file.write_bytes(await world.content(KEY))
    by_duckdb = duckdb.execute(
        "SELECT count(*), count(DISTINCT user_id), min(event_timestamp), max(vars.body), any_value(attrs['likes']) "
        "FROM read_parquet(?) WHERE attrs['plan'] = 'pro'",
        [str(file)],
    ).fetchone()
    bodies = [str(record["vars"]["body"]) for record in shop.exported]
    assert by_duckdb is not None
    assert by_duckdb[:4] == (2500, 2500, int(HOUR.timestamp()), max(bodies))
    assert by_duckdb[4].startswith('["tea",')


async def test_the_manifest_and_the_ledger_describe_the_object(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(3))

    await export_hour(job(shop), world.deps)

    said, row = await world.manifest(MANIFEST), await world.hour(shop)
    content = await world.content(KEY)
    assert said["files"][0] | {"sha256": "", "bytes": 0} == {"key": KEY, "rows": 3, "bytes": 0, "sha256": ""}
    assert (said["rows"], said["bytes"], said["revision"]) == (3, len(content), 1)
    assert (row["state"], row["rows"], row["bytes"], row["revision"]) == ("exported", 3, len(content), 1)
    assert row["sha256"] == said["files"][0]["sha256"]
    assert row["etag"] == (await world.objects())[KEY]
    assert row["exported_at"] == world.clock.now()
    assert row["lease_until"] is None


async def test_only_rows_of_the_hour_and_of_the_treatment_are_exported(world: World) -> None:
    shop = await world.shop()
    end = HOUR + timedelta(hours=1)
    last = Person("last", end - timedelta(microseconds=1))
    await world.say(shop, [Person("before", HOUR - timedelta(microseconds=1)), Person("after", end)])
    shop.exported.clear()
    await world.say(shop, [Person("first", HOUR), last, Person("kept back", HOUR, control=True)])

    await export_hour(job(shop), world.deps)

    rows = await world.rows(KEY)
    assert rows == shop.exported
    assert rows[-1]["event_timestamp"] == int(end.timestamp()) - 1  # not rounded into the next hour


async def test_previews_are_not_exported(world: World) -> None:
    shop = await world.shop()
    real, *looked_at = people(3)
    decisions = ("preview", "written_preview")
    await world.say(shop, [real, *(replace(one, preview=how) for one, how in zip(looked_at, decisions, strict=True))])

    await export_hour(job(shop), world.deps)

    assert await world.rows(KEY) == shop.exported
    assert len(shop.exported) == 1


async def test_exporting_the_same_rows_again_uploads_nothing(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(20))
    await export_hour(job(shop), world.deps)
    before, first = await world.objects(), await world.content(MANIFEST)

    await world.ask(shop, "generations", [HOUR])
    world.clock.advance(60)
    await export_hour(job(shop), world.deps)

    row = await world.hour(shop)
    assert await world.objects() == before
    assert await world.content(MANIFEST) == first
    assert (row["state"], row["exported_seq"], row["revision"]) == ("exported", 2, 1)
    assert row["exported_at"] == world.clock.now()


async def test_changed_rows_replace_the_object_under_the_same_name(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(20))
    await export_hour(job(shop), world.deps)
    before = await world.objects()

    await world.say(shop, [Person("late", HOUR + timedelta(minutes=59, seconds=59, milliseconds=500))])
    await export_hour(job(shop), world.deps)

    after = await world.objects()
    assert after.keys() == before.keys()
    assert await world.rows(KEY) == shop.exported
    said = await world.manifest(MANIFEST)
    assert (said["rows"], said["revision"]) == (21, 2)


async def test_an_object_that_somebody_deleted_is_put_back(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    await export_hour(job(shop), world.deps)
    await world.s3.delete_object(Bucket=world.bucket, Key=KEY)

    await world.ask(shop, "generations", [HOUR])
    await export_hour(job(shop), world.deps)

    assert await world.rows(KEY) == shop.exported


async def test_a_missing_manifest_is_written_although_the_object_is_right(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(5))
    await export_hour(job(shop), world.deps)
    object_before = (await world.objects())[KEY]
    await world.s3.delete_object(Bucket=world.bucket, Key=MANIFEST)

    await world.ask(shop, "generations", [HOUR])
    await export_hour(job(shop), world.deps)

    assert (await world.objects())[KEY] == object_before
    assert (await world.manifest(MANIFEST))["rows"] == 5


async def test_an_hour_without_rows_has_a_manifest_and_no_object(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(1))

    await export_hour(job(shop, HOUR + timedelta(hours=1)), world.deps)

    assert list(await world.objects()) == ["_manifests/2026/11/23/11.json"]
    assert (await world.manifest("_manifests/2026/11/23/11.json"))["rows"] == 0


async def test_an_hour_whose_rows_were_deleted_loses_its_object(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(4))
    await export_hour(job(shop), world.deps)

    await world.admin.execute("DELETE FROM generations")
    await world.ask(shop, "generations", [HOUR])
    await export_hour(job(shop), world.deps)

    row = await world.hour(shop)
    assert list(await world.objects()) == [MANIFEST]
    assert (await world.manifest(MANIFEST))["files"] == []
    assert (row["state"], row["rows"], row["etag"]) == ("exported", 0, None)


async def test_an_hour_that_we_no_longer_keep_is_not_taken_from_the_customer(world: World) -> None:
    shop = await world.shop()
    await world.say(shop, people(4))
    await export_hour(job(shop), world.deps)
    before = await world.objects()

    await world.admin.execute("DROP TABLE generations_20261123")
    await world.ask(shop, "generations", [HOUR])
    await export_hour(job(shop), world.deps)

    row = await world.hour(shop)
    assert await world.objects() == before
    assert row["state"] == "blocked"
    assert row["error"].startswith("rows_are_gone:")


async def test_two_orgs_in_one_bucket_never_mix(world: World) -> None:
    one, other = await world.shop("one", prefix="one"), await world.shop("other", prefix="other/exports")
    await world.say(one, people(3, name="one"))
    await world.say(other, people(4, name="other"))

    outcomes = await export_hours([job(one), job(other)], world.deps)

    assert outcomes == [None, None]
    assert await world.rows(f"one/{KEY}") == one.exported
    assert await world.rows(f"other/exports/{KEY}") == other.exported
    assert len(await world.objects()) == 4


async def test_two_orgs_cannot_be_sent_to_the_same_folder(world: World) -> None:
    await world.shop("one", prefix="shared")

    with pytest.raises(asyncpg.UniqueViolationError, match="export_targets_place"):
        await world.shop("other", prefix="shared")


async def test_a_large_object_goes_up_in_parts_and_comes_back_whole(world: World) -> None:
    shop = await world.shop()
    content = random.Random(1).randbytes(13 << 20)
    async with AsyncExitStack() as stack:
        s3 = S3(S3Options(part_bytes=5 << 20), stack)  # the least that S3 takes
        bucket = await s3.bucket(await world.store.target(shop.org_id))

        etag = await bucket.replace(
            "large", io.BytesIO(content), len(content), metadata={"a": "b"}, kind="text/plain", over=None
        )
        found = await bucket.find("large")

    assert found == Found(etag, {"a": "b"})
    assert etag.strip('"').endswith("-3")
    assert await world.content("large") == content


async def test_an_hour_that_is_named_in_another_zone_is_the_same_hour(world: World) -> None:
    shop = await world.shop()
    hour = datetime(2026, 11, 22, 23, tzinfo=UTC)
    await world.say(shop, people(2, hour=hour))

    await export_hour(job(shop, datetime.fromisoformat("2026-11-23T00:00:00+01:00")), world.deps)

    assert await world.rows("2026/11/22/23/part-000.parquet") == shop.exported
    assert (await world.hour(shop, hour))["rows"] == 2


async def test_the_hour_that_a_clock_change_repeats_is_two_hours(world: World) -> None:
    shop = await world.shop()
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (datetime(2026, 10, 25, 2, 59, 59, 999999, tzinfo=berlin, fold=fold) for fold in (0, 1))
    await world.say(shop, [Person("summer", first.astimezone(UTC)), Person("winter", second.astimezone(UTC))])

    for hour in (0, 1, 2):
        await export_hour(job(shop, datetime(2026, 10, 25, hour, tzinfo=UTC)), world.deps)

    assert await world.rows("2026/10/25/00/part-000.parquet") == shop.exported[:1]
    assert await world.rows("2026/10/25/01/part-000.parquet") == shop.exported[1:]
    assert (await world.manifest("_manifests/2026/10/25/02.json"))["rows"] == 0


async def test_rows_with_large_attrs_are_read_a_few_at_a_time(world: World) -> None:
    shop = await world.shop()
    said = [replace(one, attrs={"note": "x" * 200_000}) for one in people(300)]
    await world.say(shop, said)
    lease = await world.store.claim(job(shop), world.clock.now(), 300)
    assert lease is not None
    sizes = []
    async with world.deps.reader.hour(lease, "page") as rows:
        while batch := await rows.fetch():
            sizes.append(len(batch))

    assert sum(sizes) == 300
    assert max(sizes[1:]) * 200_000 <= 9 << 20
