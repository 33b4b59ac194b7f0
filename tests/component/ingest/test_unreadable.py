"""What cannot be read is held with a clear word, and never stops its neighbours."""

import gzip
from pathlib import Path

import pytest

from tests.component.ingest.given import Mail, mails, nested_csv
from tests.component.ingest.rig import Rig

GARBAGE = b"this,is,no\nevent,file,really\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (GARBAGE, "unknown_layout: no column for event_id, metric, profile_id, event_at; found 'this', 'is', 'no'"),
        (
            b"id,metric,profile_id,datetime\nE1,a\nE2,b\nE3,Opened Email,P1,2026-11-23\n",
            "too_many_rejects: 2 of the 3 ",
        ),
        (gzip.compress(b"id,metric,profile_id,datetime\n", mtime=0)[:-4], "damaged_gzip"),
        (b"PK\x03\x04rest", "damaged_zip: "),
        (b"PAR1 and no more", "damaged_parquet: "),
        (b'[{"id": "E1"', "damaged_json: "),
        (gzip.compress(b"id,metric,profile_id,datetime\n" + b" " * (64 << 20), mtime=0), "too_large_unpacked"),
    ],
)
async def test_a_bad_file_is_held_with_a_clear_word_and_never_stops_others(
    rig: Rig, folder: Path, data: bytes, reason: str
) -> None:
    (folder / "1.csv").write_bytes(data)
    (folder / "2.csv").write_bytes(nested_csv([Mail("T1").received()]))

    await rig.settle()

    assert await rig.files() == {"1.csv": "held", "2.csv": "done"}
    assert rig.outcomes == [None, None]
    held = await rig.one("SELECT error, fresh FROM ingest_files WHERE state = 'held'")
    assert held["error"].startswith(reason)
    assert len(await rig.event_ids()) == 1


async def test_a_file_larger_than_what_is_read_is_held_unread(rig: Rig, folder: Path) -> None:
    """ASVS 5.0 V5.2.1."""
    rig.with_deps(max_file_bytes=10)
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))

    await rig.settle()

    assert (await rig.one("SELECT error FROM ingest_files"))["error"].startswith("too_large: ")


async def test_bad_rows_are_kept_with_their_line_and_never_stop_neighbours(rig: Rig, folder: Path) -> None:
    good = nested_csv([mail.received() for mail in mails(3)]).splitlines(keepends=True)
    lines = [good[0], good[1], b"broken\r\n", good[2], b'E9,Opened Email,P1,2199-01-01,"{""a"":1}"\r\n', good[3]]
    (folder / "events.csv").write_bytes(b"".join(lines))

    await rig.settle()

    assert len(await rig.event_ids()) == 3
    rejects = await rig.rows("SELECT line, reason, raw FROM ingest_rejects ORDER BY line")
    assert rejects == [
        {"line": 3, "reason": "1 values for 5 columns", "raw": "broken\r\n"},
        {
            "line": 5,
            "reason": "event_at is before 2020 or in the future",
            "raw": 'E9,Opened Email,P1,2199-01-01,"{""a"":1}"\r\n',
        },
    ]
    file = await rig.one("SELECT state, rows, rejects, fresh FROM ingest_files")
    assert file == {"state": "done", "rows": 5, "rejects": 2, "fresh": 3}


async def test_a_held_file_loads_when_the_source_learns_its_columns(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(b"key,what,who,moment\nE1,Opened Email,P1,2026-11-23T09:00:00Z\nbad\nbad\n")
    await rig.settle()
    job = await rig.job_of("1.csv")
    mapping = {"event_id": "key", "metric": "what", "profile_id": "who", "event_at": "moment"}
    await rig.run("UPDATE sources SET mapping = $1", mapping)

    rig.queued = [job]
    await rig.work()
    still_held = await rig.rows("SELECT line FROM ingest_rejects ORDER BY line")
    (folder / "2.csv").write_bytes(b"key,what,who,moment\nE1,Opened Email,P1,2026-11-23T09:00:00Z\n")
    await rig.settle()

    assert still_held == [{"line": 3}, {"line": 4}]
    assert await rig.files() == {"1.csv": "held", "2.csv": "done"}
    assert await rig.event_ids() == ["E1"]


async def test_a_mapping_that_is_none_holds_the_file_and_not_the_poller(rig: Rig, folder: Path) -> None:
    await rig.run("UPDATE sources SET mapping = $1", ["nonsense"])
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))

    await rig.settle()

    assert (await rig.one("SELECT error FROM ingest_files"))["error"].startswith("bad_mapping: ")
