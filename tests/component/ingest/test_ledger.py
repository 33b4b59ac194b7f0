"""Each version of each file is loaded once, when it is whole, whatever its neighbours are."""

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.ingest.handler import ingest_files
from services.ingest.records import Claimed, Listed
from services.ingest.store import Ledger
from shared.errors import Outage, Throttled
from tests.component.ingest.given import SENT, Mail, again, nested_csv
from tests.component.ingest.rig import STABLE_S, Rig, Server

GARBAGE = b"this,is,no\nevent,file,really\n"


def mails(count: int, prefix: str = "T") -> list[Mail]:
    return [Mail(f"{prefix}{number}", f"P{number}") for number in range(count)]


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


# --- several workers


async def test_while_one_worker_has_a_file_others_wait_and_after_its_lease_take_it_over(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))
    await rig.list_twice()
    (job,) = rig.queued
    dead = await rig.ledger.claim(rig.org_id, job.file_id, uuid4(), rig.clock.now())

    await rig.work()
    rig.queued = [job]
    rig.clock.advance(301)
    await rig.work()

    assert dead is not None
    assert isinstance(rig.outcomes[0], Throttled)
    assert rig.outcomes[0].wait_s == 300
    assert rig.outcomes[1] is None
    assert len(await rig.event_ids()) == 1


async def test_a_worker_that_lost_its_lease_keeps_nothing(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))
    await rig.list_twice()

    thief = uuid4()

    class Overtaken(Ledger):
        """Somebody else takes the file while this worker reads it."""

        async def same_bytes(self, file: Claimed, sha256: str) -> UUID | None:
            await rig.run("UPDATE ingest_files SET claim_id = $1", thief)
            return await super().same_bytes(file, sha256)

    rig.with_deps(ledger=Overtaken(rig.database, lease=timedelta(minutes=5), max_attempts=3))
    await rig.work()

    assert getattr(rig.outcomes[0], "reason", None) == "lease_lost"
    assert await rig.event_ids() == []
    assert await rig.one("SELECT claim_id, state FROM ingest_files") == {"claim_id": thief, "state": "loading"}


async def test_a_file_whose_message_was_lost_is_queued_again(rig: Rig, folder: Path) -> None:
    (folder / "1.csv").write_bytes(nested_csv([Mail("T1").received()]))
    await rig.list_twice()
    rig.queued.clear()

    rig.clock.advance(3500)
    await rig.poll()
    assert rig.queued == []
    rig.clock.advance(200)
    await rig.settle()

    assert await rig.files() == {"1.csv": "done"}


async def test_replicas_share_the_polling(rig: Rig, sshd: Server, folder: Path) -> None:
    await rig.add_source(sshd, str(folder), name="second")
    slots = [await rig.sources.take_poll_slot(rig.clock.now()) for _ in range(3)]

    assert len({slot.source_id for slot in slots if slot}) == 2
    assert slots[2] is None


async def test_a_listing_is_recorded_whatever_the_server_says_twice(rig: Rig) -> None:
    source = await rig.sources.take_poll_slot(rig.clock.now())
    assert source is not None
    listed = Listed("a.csv", 5, datetime(2026, 1, 1, tzinfo=UTC))

    for minutes in (0, 1):
        now = SENT + timedelta(minutes=minutes)
        await rig.ledger.record_listing(source, [(uuid4(), listed)], now)

    row = await rig.one("SELECT first_seen_at, last_seen_at FROM ingest_files")
    assert row == {"first_seen_at": SENT, "last_seen_at": SENT + timedelta(minutes=1)}


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


async def test_conflicts_in_the_database_spend_no_attempt_of_a_file(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))
    look, left = Ledger.same_bytes, [asyncpg.DeadlockDetectedError, asyncpg.SerializationError] * 2

    async def asked_to_try_again(self: Ledger, file: Claimed, sha256: str) -> UUID | None:
        async with rig.database.connection():
            if left:
                raise left.pop()("refused")
        return await look(self, file, sha256)

    monkeypatch.setattr(Ledger, "same_bytes", asked_to_try_again)
    await rig.list_twice()
    [job] = rig.queued

    for _ in range(4):  # more than a file has attempts
        with pytest.raises(Outage, match="asks to try again"):
            await ingest_files([job], rig.deps)
        file = await rig.one("SELECT state, attempts, lease_until FROM ingest_files")
        assert file == {"state": "queued", "attempts": 0, "lease_until": None}
    await rig.work()

    assert await rig.files() == {"events.csv": "done"}
