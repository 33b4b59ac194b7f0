"""Each version of each file is loaded once, when it is whole, whatever its neighbours are."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from tests.component.ingest.given import SENT, Mail, again, mails, nested_csv
from tests.component.ingest.rig import STABLE_S, Rig, Server


async def test_a_file_is_loaded_once_however_often_it_is_listed(rig: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in mails(3)]
    (folder / "events.csv").write_bytes(nested_csv(rows))

    for _ in range(4):
        await rig.settle()

    assert await rig.event_ids() == sorted(row.event_id for row in rows)
    assert rig.outcomes == [None]
    file = await rig.one("SELECT state, rows, rejects, fresh, error FROM ingest_files")
    assert file == {"state": "done", "rows": 3, "rejects": 0, "fresh": 3, "error": None}


async def test_a_file_is_not_read_before_two_listings_agree_a_minute_apart(rig: Rig, folder: Path) -> None:
    (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))

    await rig.poll()
    rig.clock.advance(STABLE_S - 1)
    await rig.run("UPDATE sources SET next_poll_at = NULL")
    await rig.poll()

    assert rig.queued == []
    rig.clock.advance(STABLE_S)
    await rig.poll()
    assert len(rig.queued) == 1


async def test_a_file_that_grows_is_left_alone_until_it_stops(rig: Rig, folder: Path) -> None:
    data = nested_csv([mail.received() for mail in mails(10)])
    for part in range(1, 6):
        (folder / "events.csv").write_bytes(data[: part * len(data) // 5])
        rig.clock.advance(STABLE_S)
        await rig.poll()
        assert rig.queued == []

    await rig.settle()

    assert len(await rig.event_ids()) == 10
    assert len(await rig.rows("SELECT FROM ingest_files")) == 1


async def test_a_file_that_changed_between_listing_and_reading_waits_for_its_new_version(
    rig: Rig, folder: Path
) -> None:
    old, new = [mail.received() for mail in mails(2)], [mail.received() for mail in mails(4)]
    (folder / "events.csv").write_bytes(nested_csv(old))
    await rig.list_twice()

    (folder / "events.csv").write_bytes(nested_csv(new))
    await rig.work()

    assert await rig.event_ids() == []
    assert rig.outcomes == [None]
    await rig.settle()
    assert await rig.event_ids() == sorted(row.event_id for row in new)


async def test_a_file_that_is_gone_leaves_nothing(rig: Rig, folder: Path) -> None:
    (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))
    await rig.list_twice()

    (folder / "events.csv").unlink()
    await rig.work()
    await rig.settle()

    assert rig.outcomes == [None]
    assert await rig.rows("SELECT FROM ingest_files") == []


async def test_a_file_that_flickers_is_not_stable(rig: Rig, folder: Path) -> None:
    path = folder / "events.csv"
    for _ in range(3):
        path.write_bytes(nested_csv([Mail("T1").received()]))
        os.utime(path, (1_000_000_000, 1_000_000_000))
        rig.clock.advance(STABLE_S)
        await rig.poll()
        path.unlink()
        rig.clock.advance(STABLE_S)
        await rig.poll()

    assert rig.queued == []


async def test_a_replaced_file_adds_only_what_is_new(rig: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in mails(4)]
    (folder / "events.csv").write_bytes(nested_csv(rows[:3]))
    await rig.settle()

    (folder / "events.csv").write_bytes(nested_csv(rows))
    await rig.settle()

    assert await rig.event_ids() == sorted(row.event_id for row in rows)
    versions = await rig.rows("SELECT state, rows, fresh FROM ingest_files ORDER BY size")
    assert versions == [{"state": "done", "rows": 3, "fresh": 3}, {"state": "done", "rows": 4, "fresh": 1}]


async def test_a_file_touched_but_not_changed_adds_nothing(rig: Rig, folder: Path) -> None:
    path = folder / "events.csv"
    path.write_bytes(nested_csv([Mail("T1").received()]))
    await rig.settle()

    os.utime(path, (1_500_000_000, 1_500_000_000))
    await rig.settle()

    assert len(await rig.event_ids()) == 1
    assert [row["state"] for row in await rig.rows("SELECT state FROM ingest_files")] == ["done", "done"]


async def test_the_same_bytes_under_another_name_add_no_row(rig: Rig, folder: Path) -> None:
    data = nested_csv([mail.received() for mail in mails(3)])
    (folder / "a.csv").write_bytes(data)
    await rig.settle()

    (folder / "b.csv").write_bytes(data)
    await rig.settle()

    copy = await rig.one("SELECT state, rows, fresh, same_as FROM ingest_files WHERE path LIKE '%b.csv'")
    original = await rig.one("SELECT file_id FROM ingest_files WHERE path LIKE '%a.csv'")
    assert copy == {"state": "done", "rows": 0, "fresh": 0, "same_as": original["file_id"]}
    assert len(await rig.event_ids()) == 3


ORDER = b"id,metric,profile_id,datetime,Net,Gross,Day\nE1,Placed Order,P1,2026-11-23T09:00:00Z,10,12,2026-11-22\n"


@pytest.mark.parametrize("again_as", ["a.csv", "b.csv"])
async def test_the_same_bytes_after_the_mapping_was_corrected_are_read_by_it(
    rig: Rig, folder: Path, again_as: str
) -> None:
    (folder / "a.csv").write_bytes(ORDER)
    os.utime(folder / "a.csv", (1_600_000_000, 1_600_000_000))
    await rig.run("UPDATE sources SET mapping = $1", {"value": "Net"})
    await rig.settle()
    assert await rig.one("SELECT value FROM events") == {"value": 10.0}

    await rig.run("UPDATE sources SET mapping = $1", {"value": "Gross"})
    (folder / again_as).write_bytes(ORDER)
    await rig.settle()

    assert await rig.one("SELECT value FROM events") == {"value": 12.0}
    assert await rig.rows("SELECT DISTINCT same_as FROM ingest_files") == [{"same_as": None}]
    (folder / "c.csv").write_bytes(ORDER)
    await rig.settle()
    assert await rig.one("SELECT count(*) AS n FROM ingest_files WHERE same_as IS NOT NULL") == {"n": 1}


async def test_a_time_that_was_read_from_the_wrong_column_goes_when_its_file_comes_again(
    rig: Rig, folder: Path
) -> None:
    (folder / "a.csv").write_bytes(ORDER)
    os.utime(folder / "a.csv", (1_600_000_000, 1_600_000_000))
    await rig.run("UPDATE sources SET mapping = $1", {"event_at": "Day"})
    await rig.settle()

    await rig.run("UPDATE sources SET mapping = NULL")
    (folder / "copy.csv").write_bytes(ORDER)
    await rig.settle()
    os.utime(folder / "a.csv", (1_700_000_000, 1_700_000_000))
    await rig.settle()

    assert await rig.rows("SELECT event_at FROM events") == [{"event_at": SENT}]


async def test_of_a_file_that_was_loaded_before_its_mapping_was_noted_the_same_bytes_are_read(
    rig: Rig, folder: Path
) -> None:
    (folder / "a.csv").write_bytes(ORDER)
    await rig.settle()
    await rig.run("UPDATE ingest_files SET read_by = NULL")

    (folder / "b.csv").write_bytes(ORDER)
    await rig.settle()

    loaded = await rig.one("SELECT rows, fresh, same_as, read_by FROM ingest_files WHERE path LIKE '%b.csv'")
    assert loaded == {"rows": 1, "fresh": 0, "same_as": None, "read_by": {}}


async def test_rows_that_come_twice_within_and_across_files_are_stored_once(rig: Rig, folder: Path) -> None:
    await rig.add_generation("P0", copy_id=uuid4())
    mail = mails(1)[0]
    received, opened = mail.received(), mail.opened()
    (folder / "1.csv").write_bytes(nested_csv([received, opened, received]))
    (folder / "2.csv").write_bytes(nested_csv([again(opened, properties=opened.properties | {"late": 1}), received]))

    await rig.settle()

    assert await rig.event_ids() == sorted([received.event_id, opened.event_id])
    assert (await rig.send("T0"))["human_opens"] == 1
    assert await rig.one("SELECT delivered, human_opens FROM rollups") == {"delivered": 1, "human_opens": 1}


async def test_files_are_queued_oldest_first(rig: Rig, folder: Path) -> None:
    for age, name in enumerate(["c.csv", "a.csv", "b.csv"]):
        (folder / name).write_bytes(nested_csv([Mail(f"T{age}").received()]))
        os.utime(folder / name, (1_700_000_000 - age, 1_700_000_000 - age))
    await rig.list_twice()

    paths = {row["file_id"]: row["path"] for row in await rig.rows("SELECT file_id, path FROM ingest_files")}
    assert [Path(paths[job.file_id]).name for job in rig.queued] == ["b.csv", "a.csv", "c.csv"]


async def test_folders_links_and_other_names_are_ignored_and_counted(bare_rig: Rig, sshd: Server, folder: Path) -> None:
    await bare_rig.add_source(sshd, str(folder), pattern="*.csv*")
    (folder / "good.csv").write_bytes(nested_csv([Mail("T1").received()]))
    (folder / "folder.csv").mkdir()
    (folder / "link.csv").symlink_to("/etc/passwd")
    (folder / "other.txt").write_bytes(b"x")
    (folder / "half.csv.part").write_bytes(b"x")
    (folder / ".hidden.csv").write_bytes(b"x")
    (folder / "new\nline.csv").write_bytes(b"x")
    (folder / os.fsdecode(b"caf\xe9.csv")).write_bytes(b"x")
    os.mkfifo(folder / "pipe.csv")

    await bare_rig.settle()

    assert await bare_rig.files() == {"good.csv": "done"}
    source = await bare_rig.one("SELECT listed, ignored, last_error FROM sources")
    assert source == {"listed": 1, "ignored": 8, "last_error": None}


async def test_every_stored_event_can_be_traced_to_its_file_and_line(rig: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in mails(2)]
    (folder / "events.csv").write_bytes(nested_csv(rows))

    await rig.settle()

    traced = await rig.one(
        "SELECT path, line FROM events JOIN ingest_files USING (org_id, file_id) WHERE event_id = $1", rows[1].event_id
    )
    assert (Path(traced["path"]).name, traced["line"]) == ("events.csv", 3)


async def test_years_of_history_need_no_daily_partitions(rig: Rig, folder: Path) -> None:
    days = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(0, 2192, 7)]
    days += [datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]
    (folder / "history.csv").write_bytes(
        nested_csv(Mail(f"T{number}", sent_at=day).received() for number, day in enumerate(days))
    )

    await rig.settle()

    assert len(await rig.event_ids()) == len(days)
    partitions = await rig.rows(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'events'::regclass"
    )
    assert sorted(row["name"] for row in partitions) == ["events_20260101", "events_history"]


async def test_a_source_whose_usual_gap_is_long_over_is_silent(bare_rig: Rig, sshd: Server, folder: Path) -> None:
    source_id = await bare_rig.add_source(sshd, str(folder))
    for days, files in ((6, 3), (5, 1), (4, 2), (3, 1), (2, 1)):
        for _ in range(files):
            await bare_rig.run(
                "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at,"
                " last_seen_at) VALUES ($1, $2, $3, $1::uuid::text, 1, $4, 'done', $4, $4)",
                uuid4(), bare_rig.org_id, source_id, SENT - timedelta(days=days),
            )  # fmt: skip

    silent = [await bare_rig.sources.count_silent(SENT + timedelta(hours=hours)) for hours in (-1, 1)]
    await bare_rig.run("UPDATE sources SET enabled = false")

    assert silent == [0, 1]
    assert await bare_rig.sources.count_silent(SENT + timedelta(days=9)) == 0
