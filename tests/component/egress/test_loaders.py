"""What `justai export loader` prints, run as it is against exports in a real bucket."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest

from services.egress.handler import export_hour
from shared.exports import VARIANTS_HOUR
from shared.schemas.jobs import ExportHourJob
from tests.component.egress.loading import Desk
from tests.component.egress.shop import HOUR, Person, Shop, World, people

NEXT, LAST = HOUR + timedelta(hours=1), HOUR + timedelta(days=7)
Row = dict[str, Any]


async def exported(world: World, shop: Shop) -> None:
    """Every hour and table that may have changed."""
    for table in ("generations", "outcomes"):
        for hour in (HOUR, NEXT, LAST):
            await world.ask(shop, table, [hour])
            await export_hour(ExportHourJob(org_id=shop.org_id, table=table, hour=hour), world.deps)
    await world.ask(shop, "variants", [VARIANTS_HOUR])
    await export_hour(ExportHourJob(org_id=shop.org_id, table="variants", hour=VARIANTS_HOUR), world.deps)


def plain(rows: list[Row]) -> list[Row]:
    """The page's columns, whatever an engine calls a map, in one order."""
    made = []
    for row in rows:
        attrs = row["attrs"]
        if isinstance(attrs, list):
            attrs = {one["key"]: one["value"] for one in (dict(pair) for pair in attrs)}
        made.append({**row, "attrs": attrs})
    return sorted(made, key=lambda row: (row["event_timestamp"], row["user_id"]))


async def in_duckdb(world: World, folder: Path) -> list[Row]:
    with duckdb.connect(str(folder / "justai.duckdb"), read_only=True) as db:
        return list(db.sql(f"SELECT {COLUMNS} FROM justai_export.generations").to_arrow_table().to_pylist(
            maps_as_pydicts="strict"))  # fmt: skip


async def in_postgres(world: World, folder: Path) -> list[Row]:
    rows = await world.admin.fetch(f"SELECT {COLUMNS} FROM justai_export.generations")
    return [{**row, "vars": json.loads(row["vars"]), "attrs": json.loads(row["attrs"])} for row in rows]


async def in_files(world: World, folder: Path) -> list[Row]:
    read = ds.dataset(folder / "justai/generations").to_table(columns=COLUMNS.split(", "))
    return list(read.to_pylist(maps_as_pydicts="strict"))


COLUMNS = "event_timestamp, user_id, tracking_id, copy_id, template_id, vars, attrs"
LOADED = {"duckdb": in_duckdb, "postgres": in_postgres, "pyarrow": in_files}


@pytest.mark.parametrize("layout", ["plain", pytest.param("hive", marks=pytest.mark.long)])
async def test_scripts_count_right_at_once_and_again_and_after_a_day_was_overwritten(
    world: World, tmp_path: Path, layout: str
) -> None:
    shop = await world.shop(prefix="jai's/out", tables=["outcomes", "variants"], layout=layout)
    await world.say(shop, people(30) + people(4, hour=NEXT, name="next") + people(5, hour=LAST, name="last"))
    await exported(world, shop)
    desks = {engine: Desk(world, tmp_path / engine) for engine in LOADED}
    scripts = {engine: await desk.prints(engine) for engine, desk in desks.items()}

    async def all_run(*arguments: str) -> list[list[str]]:
        return await asyncio.gather(*(desk.runs(scripts[engine], *arguments) for engine, desk in desks.items()))

    first = await all_run("2026-11")
    again = await all_run("2026-11")
    await world.admin.execute("DELETE FROM generations WHERE accepted_at >= $1 AND accepted_at < $2", NEXT, LAST)
    shop.exported = [row for row in shop.exported if not row["user_id"].startswith("next")]
    hostile = {"name": 'Zoë "Z" \\ O\'Neill', "none": None, "": "empty"}
    await world.say(shop, [Person("late", HOUR + timedelta(minutes=1), hostile)])
    shop.exported[-1]["attrs"]["none"] = None
    await exported(world, shop)
    after = await all_run()
    other_month = await all_run("2026-10")

    before = ["generations: 39 rows", "outcomes: 39 rows", "variants: 3 rows"]
    now = ["generations: 36 rows", "outcomes: 36 rows", "variants: 3 rows"]
    every = len(LOADED)
    assert first == [["7 manifests, 7 of them new, 7 loaded.", *before]] * every
    assert again == [["7 manifests, 0 of them new, 0 loaded.", *before]] * every
    assert after == [["7 manifests, 4 of them new, 4 loaded.", *now]] * every
    assert other_month == [["1 manifests, 0 of them new, 0 loaded.", *now]] * every
    for engine, loaded in LOADED.items():
        assert plain(await loaded(world, desks[engine].folder)) == plain(shop.exported), engine


async def test_an_hour_that_is_just_being_overwritten_is_left_for_the_next_run(world: World, tmp_path: Path) -> None:
    shop = await world.shop()
    await world.say(shop, people(3) + people(2, hour=NEXT, name="next"))
    await exported(world, shop)
    desk, key = Desk(world, tmp_path / "desk"), "2026/11/23/10/part-000.parquet"
    script = await desk.prints("duckdb")
    whole = await world.content(key)

    await world.s3.put_object(Bucket=world.bucket, Key=key, Body=b"newer than its manifest")
    between = await desk.runs(script)
    await world.s3.put_object(Bucket=world.bucket, Key=key, Body=whole)
    after = await desk.runs(script)

    assert between[1:] == [
        "Being overwritten just now, so run this again: generations 2026-11-23T10:00:00Z", "generations: 2 rows",
    ]  # fmt: skip
    assert after == ["3 manifests, 1 of them new, 1 loaded.", "generations: 5 rows"]


@pytest.mark.parametrize(
    "engine",
    ["duckdb", pytest.param("postgres", marks=pytest.mark.long), pytest.param("pyarrow", marks=pytest.mark.long)],
)
async def test_hours_of_the_earlier_record_are_loaded_beside_those_of_the_analyst_s(
    world: World, tmp_path: Path, engine: str
) -> None:
    shop = await world.shop()
    await world.say(shop, people(2) + [replace(one, control=True) for one in people(2, hour=NEXT, name="next")])
    await export_hour(ExportHourJob(org_id=shop.org_id, hour=HOUR), world.deps)
    desk = Desk(world, tmp_path / "desk")
    before = await desk.runs(await desk.prints(engine))
    await world.set(shop.org_id, record="analyst")
    await export_hour(ExportHourJob(org_id=shop.org_id, hour=NEXT), world.deps)

    after = await desk.runs(await desk.prints(engine))
    await world.ask(shop, "generations", [HOUR])
    await export_hour(ExportHourJob(org_id=shop.org_id, hour=HOUR), world.deps)
    brought = await desk.runs(desk.folder / f"load_{engine}.py")

    assert (before[1], after[1]) == ("generations: 2 rows", "generations: 4 rows")
    assert brought == ["2 manifests, 1 of them new, 1 loaded.", "generations: 4 rows"]


async def test_polars_reads_what_its_script_loaded(world: World, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed, which nothing else needs")
    shop = await world.shop(tables=["outcomes", "variants"])
    await world.say(shop, people(30) + people(4, hour=NEXT, name="next"))
    await exported(world, shop)
    desk = Desk(world, tmp_path / "desk")
    script = await desk.prints("polars")

    first = await desk.runs(script, "2026-11")
    await world.say(shop, people(5, name="late"))
    await exported(world, shop)
    after = await desk.runs(script)

    read = polars.scan_parquet(str(desk.folder / "justai/generations/*.parquet")).collect()
    assert (first[1], after[1]) == ("generations: 34 rows", "generations: 39 rows")
    assert plain(read.to_dicts()) == plain(shop.exported)
