"""A file with too many bad rows counts nothing, until it is mended or a person takes it as it is."""

import os
from pathlib import Path

import pytest

from shared.admin.sources import accepting as source_accepting
from shared.admin.sources import files as source_files
from shared.admin.sources import sources
from tests.component.ingest.given import Mail, nested_csv
from tests.component.ingest.rig import STABLE_S, Rig


def csv_of(good: int, bad: int, prefix: str = "T") -> bytes:
    """Bad rows first."""
    header, *rows = nested_csv(Mail(f"{prefix}{n}", f"P{n}").received() for n in range(good)).splitlines(keepends=True)
    return header + b"broken\n" * bad + b"".join(rows)


async def test_a_file_with_more_than_a_twentieth_of_bad_rows_counts_nothing(rig: Rig, folder: Path) -> None:
    (folder / "at.csv").write_bytes(csv_of(380, 20, "A"))
    (folder / "above.csv").write_bytes(csv_of(379, 21, "B"))

    await rig.settle()

    assert await rig.files() == {"at.csv": "done", "above.csv": "held"}
    assert len(await rig.event_ids()) == 380
    held = await rig.one("SELECT rows, rejects, fresh, error FROM ingest_files WHERE state = 'held'")
    assert (held["rows"], held["rejects"], held["fresh"]) == (400, 21, 0)
    assert held["error"].startswith(
        "too_many_rejects: 21 of the 400 rows that were read are no events; see its rejects"
    )


@pytest.mark.parametrize(
    ("good", "bad", "state"), [(9, 1, "done"), (10, 10, "done"), (9, 10, "held"), (0, 1, "held"), (11, 11, "held")]
)
async def test_a_handful_of_bad_rows_holds_a_file_only_if_they_are_most_of_it(
    rig: Rig, folder: Path, good: int, bad: int, state: str
) -> None:
    (folder / "small.csv").write_bytes(csv_of(good, bad))

    await rig.settle()

    assert await rig.files() == {"small.csv": state}
    assert len(await rig.event_ids()) == (good if state == "done" else 0)
    assert len(await rig.rows("SELECT FROM ingest_rejects")) == bad


async def test_of_a_held_file_the_first_rejects_are_kept_and_of_a_loaded_one_all(rig: Rig, folder: Path) -> None:
    (folder / "held.csv").write_bytes(csv_of(5, 1500))

    await rig.settle()

    kept = await rig.one("SELECT count(*), min(line), max(line) FROM ingest_rejects")
    assert kept == {"count": 1000, "min": 2, "max": 1001}
    await rig.run("UPDATE ingest_files SET accepted_at = first_seen_at")
    rig.queued = [await rig.job_of("held.csv")]
    await rig.work()
    assert (await rig.one("SELECT count(*) FROM ingest_rejects"))["count"] == 1500


async def test_a_file_that_a_person_accepts_loads_its_good_rows_to_its_end(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(csv_of(30, 26_000))
    await rig.settle()
    assert (await rig.one("SELECT rows FROM ingest_files"))["rows"] < 26_000  # given up early: nothing could save it

    await rig.run(source_accepting.ACCEPT, (await rig.job_of("1.csv")).file_id, rig.clock.now())
    rig.queued = [await rig.job_of("1.csv")]
    await rig.work()

    file = await rig.one("SELECT state, rows, rejects, fresh, error FROM ingest_files")
    assert file == {"state": "done", "rows": 26_030, "rejects": 26_000, "fresh": 30, "error": None}
    assert len(await rig.event_ids()) == 30


async def test_who_accepts_a_file_does_not_accept_what_replaces_it(rig: Rig, folder: Path) -> None:
    path = folder / "1.csv"
    path.write_bytes(csv_of(5, 100))
    await rig.settle()
    await rig.run(source_accepting.ACCEPT, (await rig.job_of("1.csv")).file_id, rig.clock.now())

    path.write_bytes(csv_of(6, 200))
    await rig.settle()
    rig.queued = [await rig.job_of("1.csv")]
    await rig.work()

    assert await rig.event_ids() == []


async def test_a_corrected_file_loads_by_itself_and_nothing_is_left_to_do(rig: Rig, folder: Path) -> None:
    path = folder / "1.csv"
    path.write_bytes(csv_of(5, 100))
    await rig.settle()
    source_id = (await rig.one("SELECT source_id FROM sources"))["source_id"]
    assert len(await rig.rows(source_files.SELECT_TROUBLED, source_id, None)) == 1

    path.write_bytes(csv_of(105, 0))
    os.utime(path, (2_000_000_000, 2_000_000_000))
    await rig.settle()

    assert len(await rig.event_ids()) == 105
    assert await rig.rows(source_files.SELECT_TROUBLED, source_id, None) == []
    (shown,) = await rig.rows(sources.SELECT_SOURCES, rig.org_id)
    assert (shown["done"], shown["troubled"]) == (1, 0)
    file = (await rig.one("SELECT path FROM ingest_files WHERE state = 'done'"))["path"]
    assert await rig.rows(source_files.SELECT_REJECTS, source_id, file, 10) == []


async def test_a_held_file_that_is_read_again_has_the_rejects_of_the_last_reading_only(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(
        b"key,metric,profile_id,datetime\n" + b"E1,Opened Email,P1,2026-11-23T09:00:00Z\n" * 3 + b"bad\n" * 4
    )
    await rig.run("UPDATE sources SET mapping = $1", {"event_id": "metric"})  # the wrong column: all are rejects
    await rig.settle()
    assert len(await rig.rows("SELECT FROM ingest_rejects")) == 7

    await rig.run("UPDATE sources SET mapping = $1", {"event_id": "key"})
    rig.queued = [await rig.job_of("1.csv")]
    await rig.work()

    assert await rig.rows("SELECT line FROM ingest_rejects ORDER BY line") == [{"line": line} for line in (5, 6, 7, 8)]
    assert (await rig.one("SELECT state, rejects FROM ingest_files")) == {"state": "held", "rejects": 4}


async def test_who_accepts_a_file_does_not_accept_its_copy(rig: Rig, folder: Path) -> None:
    data = csv_of(5, 100)
    (folder / "1.csv").write_bytes(data)
    (folder / "2.csv").write_bytes(data)
    await rig.settle()
    await rig.run(source_accepting.ACCEPT, (await rig.job_of("1.csv")).file_id, rig.clock.now())

    rig.queued = [await rig.job_of("1.csv"), await rig.job_of("2.csv")]
    await rig.work()

    assert await rig.files() == {"1.csv": "done", "2.csv": "held"}
    rejects = await rig.rows("SELECT count(*) FROM ingest_rejects GROUP BY file_id")
    assert [row["count"] for row in rejects] == [100, 100]


async def test_a_held_file_that_is_gone_is_forgotten_when_it_is_read_again(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(csv_of(5, 100))
    await rig.settle()
    (folder / "1.csv").unlink()

    rig.queued = [await rig.job_of("1.csv")]
    await rig.work()
    rig.clock.advance(STABLE_S)
    await rig.poll()

    assert rig.outcomes[-1] is None
    assert await rig.rows("SELECT FROM ingest_files") == []
