"""Reading again what was settled, and how far a file in hand is."""

import asyncio
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.ingest import handler
from services.ingest.records import Listed
from shared import metrics
from tests.component.ingest.faulty import Faults, faulty_server
from tests.component.ingest.given import Mail, again, nested_csv
from tests.component.ingest.rig import Rig
from tests.support.waiting import eventually

ROWS = [Mail(f"T{number}").received() for number in range(3)]
LARGE = nested_csv([Mail(f"L{number}").received(Subject="x" * 900) for number in range(2500)])


async def ask_again(rig: Rig) -> None:
    await rig.run("UPDATE sources SET next_poll_at = NULL, reread_at = now()")


async def reread(rig: Rig) -> tuple[int | None, int | None, bool]:
    row = await rig.one("SELECT reread_files, reread_bytes, reread_at FROM sources")
    return row["reread_files"], row["reread_bytes"], row["reread_at"] is None


async def test_all_that_is_still_in_the_folder_is_read_again_and_counts_once(rig: Rig, folder: Path) -> None:
    (folder / "a.csv").write_bytes(nested_csv(ROWS[:2]))
    (folder / "gone.csv").write_bytes(nested_csv(ROWS[2:]))
    (folder / "held.csv").write_bytes(b"no,such,columns\n1,2,3\n")
    await rig.settle()
    assert await rig.files() == {"a.csv": "done", "gone.csv": "done", "held.csv": "held"}
    (folder / "gone.csv").unlink()

    await ask_again(rig)
    await rig.poll()
    waiting = await rig.files()
    queued = len(rig.queued)
    much = await reread(rig)
    await rig.work()
    await rig.settle()

    assert waiting == {"a.csv": "queued", "gone.csv": "done", "held.csv": "queued"}
    assert queued == 2
    held = len(b"no,such,columns\n1,2,3\n")
    assert much == (2, len(nested_csv(ROWS[:2])) + held, True)
    assert await rig.files() == {"a.csv": "done", "gone.csv": "done", "held.csv": "held"}
    assert await rig.event_ids() == sorted(row.event_id for row in ROWS)
    assert rig.queued == []


async def test_a_file_that_was_held_is_read_as_the_mapping_says_that_was_set_since(rig: Rig, folder: Path) -> None:
    renamed = nested_csv(ROWS).replace(b"profile_id", b"Wer", 1)
    (folder / "a.csv").write_bytes(renamed)
    await rig.settle()
    assert await rig.files() == {"a.csv": "held"}
    await rig.run('UPDATE sources SET mapping = \'{"profile_id": "Wer"}\'')

    await ask_again(rig)
    await rig.poll()
    await rig.work()

    assert await rig.files() == {"a.csv": "done"}
    assert len(await rig.event_ids()) == 3


async def test_the_newest_file_is_right_also_while_all_are_read_again(rig: Rig, folder: Path) -> None:
    opened = Mail("T0").opened(machine_open=True)
    person = again(opened, properties=opened.properties | {"machine_open": False})
    for name, rows, mtime in (("a.csv", [ROWS[0], opened], 1_600_000_000), ("b.csv", [person], 1_600_000_060)):
        (folder / name).write_bytes(nested_csv(rows))
        os.utime(folder / name, (mtime, mtime))
    await rig.settle()
    seen = [(await rig.send("T0"))["human_opens"]]

    await ask_again(rig)
    await rig.poll()
    jobs = rig.queued
    for job in jobs:
        rig.queued = [job]
        await rig.work()
        seen.append((await rig.send("T0"))["human_opens"])

    assert len(jobs) == 2
    assert seen == [1, 1, 1]


async def test_a_file_that_was_held_when_it_was_read_again_gives_its_rows_up_to_its_next_version(
    rig: Rig, folder: Path
) -> None:
    (folder / "a.csv").write_bytes(nested_csv(ROWS[:2]))
    os.utime(folder / "a.csv", (1_600_000_000, 1_600_000_000))
    await rig.settle()
    await rig.run('UPDATE sources SET mapping = \'{"profile_id": "Wer"}\'')
    await ask_again(rig)
    await rig.settle()
    assert await rig.files() == {"a.csv": "held"}
    assert len(await rig.event_ids()) == 2

    await rig.run("UPDATE sources SET mapping = NULL")
    (folder / "a.csv").write_bytes(nested_csv(ROWS[1:]))
    await rig.settle()
    replaced = await rig.event_ids()
    (folder / "a.csv").write_bytes(nested_csv(ROWS[:2]))
    os.utime(folder / "a.csv", (1_600_000_000, 1_600_000_000))
    await rig.settle()

    assert replaced == sorted(row.event_id for row in ROWS[1:])
    assert await rig.event_ids() == sorted(row.event_id for row in ROWS[:2])


async def test_a_listing_that_fails_leaves_the_wish_for_the_next(rig: Rig, folder: Path) -> None:
    (folder / "a.csv").write_bytes(nested_csv(ROWS))
    await rig.settle()
    path = (await rig.one("SELECT path FROM sources"))["path"]
    await ask_again(rig)
    await rig.run("UPDATE sources SET path = '/missing'")
    await rig.poll()
    kept = await reread(rig)
    await rig.run("UPDATE sources SET path = $1", path)
    await rig.poll()

    assert kept == (None, None, False)
    assert (await reread(rig))[::2] == (1, True)


async def test_how_far_a_file_is_stands_in_the_ledger_while_it_is_loaded(
    bare_rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "_TELL_S", 0.0)
    faults = Faults()
    seen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    (tmp_path / "a.csv").write_bytes(LARGE)
    async with faulty_server(tmp_path, faults) as server:
        await bare_rig.add_source(server, "/")
        await bare_rig.list_twice()

        def freeze(offset: int) -> None:
            if offset >= 1 << 20:
                faults.freeze = True  # the reads after this one wait

        faults.on_read = freeze
        working = loop.create_task(bare_rig.work())

        async def half() -> None:
            row = await bare_rig.one("SELECT state, size, got_bytes, got_rows, got_since, got_at FROM ingest_files")
            assert row["state"] == "loading"
            assert 0 < row["got_bytes"] < row["size"]
            seen.append(row)

        await eventually(half, within_s=9)
        await working
        faults.freeze, faults.on_read = False, None
        bare_rig.queued = []
        await bare_rig.run("UPDATE ingest_files SET state = 'listed', attempts = 0")
        await bare_rig.settle()

    assert (seen[0]["got_rows"], seen[0]["got_since"] is not None) == (0, True)
    row = await bare_rig.one("SELECT state, size, got_bytes, got_rows FROM ingest_files")
    assert (row["state"], row["got_bytes"], row["got_rows"]) == ("done", row["size"], 2500)


async def test_a_source_is_behind_as_long_as_its_oldest_file_waits_or_nobody_could_look(rig: Rig, folder: Path) -> None:
    assert await rig.sources.lags(rig.clock.now()) == {}  # never listed yet
    await rig.poll()
    rig.clock.advance(30)
    quiet = await rig.sources.lags(rig.clock.now())
    (folder / "a.csv").write_bytes(nested_csv(ROWS))
    rig.clock.advance(60)
    await rig.list_twice()
    rig.clock.advance(600)
    await rig.poll()
    waiting = await rig.sources.lags(rig.clock.now())
    await rig.work()
    loaded = await rig.sources.lags(rig.clock.now())
    await rig.run("UPDATE sources SET path = '/missing'")
    rig.clock.advance(900)
    await rig.poll()
    away = await rig.sources.lags(rig.clock.now())

    source = ("shop", "klaviyo")
    assert quiet == {source: 30.0}
    assert waiting == {source: 660.0}
    assert loaded == {source: 0.0}
    assert away == {source: 900.0}


async def test_the_metric_of_lag_forgets_sources_that_are_gone() -> None:
    metrics.gauge_each("ingest_source_lag_seconds", {("a", "one"): 1.0, ("b", "two"): 2.0})
    metrics.gauge_each("ingest_source_lag_seconds", {("b", "two"): 3.0})

    told = [line for line in metrics.exposition().decode().splitlines() if line.startswith("jai_ingest_source_lag")]

    assert told == ['jai_ingest_source_lag_seconds{org="b",source="two"} 3.0']


async def test_two_versions_of_one_second_and_size_are_two_where_a_tag_tells_them_apart(rig: Rig) -> None:
    source = await rig.sources.find(rig.org_id, (await rig.one("SELECT source_id FROM sources"))["source_id"])
    assert source is not None
    now = rig.clock.now()
    for tag in ("one", "two", "two"):
        await rig.ledger.record_listing(source, [(uuid4(), Listed("a.csv", 5, now, tag))], now)
        await rig.run("UPDATE ingest_files SET state = 'done'")
    claimed = (await rig.rows("SELECT file_id FROM ingest_files WHERE tag = 'two'"))[0]["file_id"]
    await rig.run("UPDATE ingest_files SET state = 'queued'")

    file = await rig.ledger.claim(rig.org_id, claimed, uuid4(), now)

    assert [row["tag"] for row in await rig.rows("SELECT tag FROM ingest_files ORDER BY tag")] == ["one", "two"]
    assert file is not None
    assert file.listed == Listed("a.csv", 5, now, "two")
