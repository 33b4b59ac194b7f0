"""What a file no longer says is taken back; what files say differently, the newest of them decides."""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.schemas.conversions import Conversions, stored
from tests.component.ingest.given import SENT, Row, again, mails, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig

COPY = UUID("00000000-0000-4000-8000-000000000001")
DERIVED = (
    "SELECT * FROM sends ORDER BY transmission_id",
    "SELECT * FROM rollups ORDER BY template_id, copy_id, cell, day",
    "SELECT * FROM conversions ORDER BY template_id, event_id",
)
_times = iter(range(1_600_000_000, 1_700_000_000, 60))


def write(path: Path, rows: Sequence[Row], mtime: int) -> None:
    path.write_bytes(nested_csv(rows))
    os.utime(path, (mtime, mtime))


async def put(rig: Rig, path: Path, rows: Sequence[Row], *, mtime: int | None = None) -> None:
    """The file as it now is, and loaded; newer than all before unless said otherwise."""
    write(path, rows, next(_times) if mtime is None else mtime)
    await rig.settle()
    assert rig.outcomes[-1:] == [None]


async def read_in_windows(rig: Rig, database_url: str) -> None:
    """The files count as windows of time of Klaviyo's API from here on."""
    owner = await asyncpg.connect(database_url)
    await owner.execute("ALTER TABLE sources DROP CONSTRAINT sources_sftp")
    await owner.close()
    await rig.run("UPDATE sources SET kind = 'klaviyo'")


def said_by_a_person(opened: Row) -> Row:
    """The same event, told anew: no machine opened it."""
    return again(opened, properties=opened.properties | {"machine_open": False})


async def repeats(rig: Rig) -> list[str]:
    return [row["event_id"] for row in await rig.rows("SELECT event_id FROM event_repeats ORDER BY 1")]


async def derived(rig: Rig) -> list[list[dict[str, Any]]]:
    return [await rig.rows(statement) for statement in DERIVED]


@pytest.fixture
async def shop(rig: Rig) -> Rig:
    """Generations of three people; the template counts orders."""
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, conversions, created_at, updated_at)"
        " VALUES ($1, 'welcome', 'Welcome', $2, $3, $3)",
        rig.org_id, stored(Conversions()), SENT,
    )  # fmt: skip
    for number in range(3):
        await rig.add_generation(f"P{number}", copy_id=COPY, cell=f"c{number}")
    rig.clock.advance(5 * 86_400)
    return rig


MAILS = mails(3)


async def test_a_replaced_file_takes_back_the_rows_it_no_longer_has(shop: Rig, folder: Path) -> None:
    received, opened = [mail.received() for mail in MAILS], [mail.opened() for mail in MAILS]
    await put(shop, folder / "a.csv", [*received, *opened])

    await put(shop, folder / "a.csv", [*received[:2], opened[0]])

    assert await shop.event_ids() == sorted(row.event_id for row in [*received[:2], opened[0]])
    assert [row["transmission_id"] for row in await shop.rows("SELECT transmission_id FROM sends ORDER BY 1")] == [
        "T0", "T1",
    ]  # fmt: skip
    counted = await shop.rows("SELECT cell, delivered, human_opens FROM rollups ORDER BY cell")
    assert counted == [
        {"cell": "c0", "delivered": 1, "human_opens": 1}, {"cell": "c1", "delivered": 1, "human_opens": 0},
    ]  # fmt: skip


async def test_a_row_that_another_file_has_too_stays_in_its_name(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows)
    await put(shop, folder / "b.csv", rows[1:])
    assert await repeats(shop) == sorted(row.event_id for row in rows[1:])

    await put(shop, folder / "a.csv", rows[:1])

    assert await shop.event_ids() == sorted(row.event_id for row in rows)
    assert await repeats(shop) == []
    named = await shop.rows(
        "SELECT e.event_id, e.line, f.path FROM events e JOIN ingest_files f USING (file_id) ORDER BY 1"
    )
    assert [(Path(row["path"]).name, row["line"]) for row in named] == [("a.csv", 2), ("b.csv", 2), ("b.csv", 3)]


async def test_a_row_goes_when_the_last_file_that_had_it_is_replaced(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows)
    await put(shop, folder / "b.csv", rows[1:])
    await put(shop, folder / "a.csv", rows[:1])

    await put(shop, folder / "b.csv", rows[2:])

    assert await shop.event_ids() == sorted(row.event_id for row in [rows[0], rows[2]])


async def test_the_same_bytes_under_another_name_keep_their_rows(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows)
    await put(shop, folder / "b.csv", rows)
    await put(shop, folder / "c.csv", rows)

    await put(shop, folder / "a.csv", rows[:1])
    assert await shop.event_ids() == sorted(row.event_id for row in rows)
    await put(shop, folder / "b.csv", rows[:1])
    assert await shop.event_ids() == sorted(row.event_id for row in rows)
    await put(shop, folder / "c.csv", rows[:1])

    assert await shop.event_ids() == [rows[0].event_id]


async def test_a_file_that_becomes_what_another_is_loses_what_it_was(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows[:1])
    await put(shop, folder / "b.csv", rows[1:])

    await put(shop, folder / "b.csv", rows[:1])

    assert await shop.event_ids() == [rows[0].event_id]


async def test_a_version_that_is_put_back_with_its_old_time_is_read_again(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows, mtime=1_500_000_000)
    await put(shop, folder / "a.csv", rows[:1])
    assert len(await shop.event_ids()) == 1

    await put(shop, folder / "a.csv", rows, mtime=1_500_000_000)

    assert await shop.event_ids() == sorted(row.event_id for row in rows)
    await put(shop, folder / "a.csv", rows[2:])
    assert await shop.event_ids() == [rows[2].event_id]


async def test_a_file_that_vanishes_keeps_its_rows(shop: Rig, folder: Path) -> None:
    await put(shop, folder / "a.csv", [MAILS[0].received()])

    (folder / "a.csv").unlink()
    await shop.settle()

    assert len(await shop.event_ids()) == 1


async def test_a_held_version_takes_nothing_back(shop: Rig, folder: Path) -> None:
    await put(shop, folder / "a.csv", [MAILS[0].received()])

    (folder / "a.csv").write_bytes(b"this,is,no\nevent,file,really\n")
    await shop.settle()

    assert len(await shop.event_ids()) == 1
    assert [row["state"] for row in await shop.rows("SELECT state FROM ingest_files ORDER BY state")] == [
        "done", "held",
    ]  # fmt: skip


async def test_a_file_that_only_grows_changes_no_row_of_its_beginning(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    where = "SELECT event_id, ctid::text, tableoid FROM events ORDER BY 1 LIMIT 2"
    await put(shop, folder / "a.csv", rows[:2])
    before = await shop.rows(where)

    await put(shop, folder / "a.csv", rows)

    assert await shop.rows(where) == before
    assert await repeats(shop) == []
    await put(shop, folder / "a.csv", [])
    assert await shop.event_ids() == []


async def test_the_newest_file_corrects_an_event_whichever_is_read_last(shop: Rig, folder: Path) -> None:
    received, opened = MAILS[0].received(), MAILS[0].opened(machine_open=True)
    await put(shop, folder / "a.csv", [received, opened])
    assert (await shop.send("T0"))["human_opens"] == 0

    await put(shop, folder / "b.csv", [said_by_a_person(opened)])
    assert (await shop.send("T0"))["human_opens"] == 1
    await put(shop, folder / "c.csv", [opened], mtime=1_400_000_000)

    assert (await shop.send("T0"))["human_opens"] == 1
    assert (await shop.one("SELECT human_opens FROM rollups"))["human_opens"] == 1


async def test_a_correction_that_is_taken_back_leaves_what_was_said_before(shop: Rig, folder: Path) -> None:
    received, opened = MAILS[0].received(), MAILS[0].opened(machine_open=True)
    person = said_by_a_person(opened)
    await put(shop, folder / "a.csv", [received, opened])
    await put(shop, folder / "b.csv", [person])

    await put(shop, folder / "b.csv", [MAILS[1].received()])

    assert (await shop.send("T0"))["human_opens"] == 0


async def test_an_event_that_moves_to_another_email_is_counted_there_only(shop: Rig, folder: Path) -> None:
    opened = MAILS[0].opened()
    await put(shop, folder / "a.csv", [MAILS[0].received(), MAILS[1].received(), opened])

    moved = opened.properties | {"$internal": {"Transmission ID": "T1"}}
    await put(shop, folder / "b.csv", [again(opened, profile_id="P1", properties=moved)])

    assert [(await shop.send(f"T{number}"))["human_opens"] for number in range(2)] == [0, 1]


async def test_a_corrected_time_in_the_same_file_moves_an_event_over_midnight(shop: Rig, folder: Path) -> None:
    received, opened = MAILS[0].received(), MAILS[0].opened()
    await put(shop, folder / "a.csv", [received, opened])

    await put(shop, folder / "a.csv", [received, again(opened, at=opened.at + timedelta(days=1))])

    assert len(await shop.event_ids()) == 2
    assert (await shop.send("T0"))["human_opens"] == 1


async def test_a_delivery_that_is_taken_back_sends_its_orders_to_the_email_before(shop: Rig, folder: Path) -> None:
    later = replace(MAILS[0], transmission_id="T9", sent_at=SENT + timedelta(hours=1))
    bought = Row("ORDER1", "Placed Order", "P0", SENT + timedelta(hours=2), {"$value": 50, "OrderId": "#1"})
    back = Row("REFUND1", "Refunded Order", "P0", SENT + timedelta(hours=3), {"$value": 20, "OrderId": "#1"})
    await put(shop, folder / "a.csv", [MAILS[0].received(), bought, back])
    await put(shop, folder / "b.csv", [later.received()])
    assert {row["transmission_id"] for row in await shop.rows("SELECT * FROM conversions")} == {"T9"}

    await put(shop, folder / "b.csv", [MAILS[1].received()])
    assert {row["transmission_id"] for row in await shop.rows("SELECT * FROM conversions")} == {"T0"}
    await put(shop, folder / "a.csv", [MAILS[0].received(), back])

    assert await shop.rows("SELECT FROM conversions") == []
    assert (await shop.one("SELECT revenue FROM rollups WHERE cell = 'c0'"))["revenue"] == 0


async def test_an_unsubscribe_of_a_send_that_is_taken_back_finds_the_one_before(shop: Rig, folder: Path) -> None:
    later = replace(MAILS[0], transmission_id="T9", sent_at=SENT + timedelta(hours=1))
    left = MAILS[0].happened_somehow("Unsubscribed", timedelta(hours=2))
    await put(shop, folder / "a.csv", [MAILS[0].received(), left])
    await put(shop, folder / "b.csv", [later.received()])
    assert not (await shop.send("T0"))["unsubscribed"]

    await put(shop, folder / "b.csv", [])

    assert (await shop.send("T0"))["unsubscribed"]


async def test_a_window_of_time_that_is_read_again_keeps_what_it_leaves_out(
    shop: Rig, folder: Path, database_url: str
) -> None:
    await read_in_windows(shop, database_url)
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows[:2])

    await put(shop, folder / "a.csv", rows[1:])

    assert await shop.event_ids() == sorted(row.event_id for row in rows)
    assert await repeats(shop) == []


async def test_a_window_that_leaves_an_event_out_is_still_right_about_it(
    shop: Rig, folder: Path, database_url: str
) -> None:
    await read_in_windows(shop, database_url)
    received, opened = MAILS[0].received(), MAILS[0].opened(machine_open=True)
    person = said_by_a_person(opened)
    await put(shop, folder / "a.csv", [received, opened])
    await put(shop, folder / "b.csv", [person])

    await put(shop, folder / "b.csv", [MAILS[1].received()])

    assert (await shop.send("T0"))["human_opens"] == 1


async def test_what_is_left_is_what_the_final_files_give_by_themselves(shop: Rig, folder: Path) -> None:
    bought = Row("ORDER2", "Placed Order", "P1", SENT + timedelta(hours=2), {"$value": 50, "OrderId": "#1"})
    first = [row for mail in MAILS for row in (mail.received(), mail.opened(), mail.clicked())]
    final = [first[0], again(first[1], at=SENT + timedelta(hours=3)), *first[3:5], bought]
    await put(shop, folder / "a.csv", first)
    await put(shop, folder / "b.csv", [*first[:4], again(bought, properties={"$value": 10, "OrderId": "#1"})])
    await put(shop, folder / "a.csv", final)
    await put(shop, folder / "b.csv", [first[6]])

    replaced = await derived(shop)
    events = await shop.rows("SELECT event_id, metric, event_at, value FROM events ORDER BY 1")
    await recount_all(shop.database, shop.org_id)
    assert await derived(shop) == replaced
    for table in ("events", "event_repeats", "sends", "rollups", "conversions", "ingest_files"):
        await shop.run(f"DELETE FROM {table}")
    await shop.run("UPDATE sources SET next_poll_at = NULL")
    await shop.settle()

    assert await derived(shop) == replaced
    assert await shop.rows("SELECT event_id, metric, event_at, value FROM events ORDER BY 1") == events


async def test_a_version_that_was_slower_than_its_successor_is_not_kept(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows[:1])
    await shop.run("UPDATE ingest_files SET first_seen_at = first_seen_at + interval '1 hour'")

    (folder / "a.csv").write_bytes(nested_csv(rows))
    await shop.list_twice()
    await shop.work()

    assert shop.outcomes[-1:] == [None]
    assert await shop.event_ids() == [rows[0].event_id]
    assert sorted(row["state"] for row in await shop.rows("SELECT state FROM ingest_files")) == ["done", "listed"]


async def test_a_count_of_rows_that_is_off_takes_nothing_wrong_back(shop: Rig, folder: Path) -> None:
    rows = [mail.received() for mail in MAILS]
    await put(shop, folder / "a.csv", rows[:2])
    for held in (None, 7):
        await shop.run("UPDATE ingest_files SET held = $1", held)
        await put(shop, folder / "a.csv", rows[1:])
        assert await shop.event_ids() == sorted(row.event_id for row in rows[1:])
        assert await shop.one("SELECT sum(held)::int AS n FROM ingest_files") == {"n": 2}
        await put(shop, folder / "a.csv", rows[:2])
        assert await shop.event_ids() == sorted(row.event_id for row in rows[:2])


async def test_days_whose_sends_are_taken_back_are_counted_anew(shop: Rig, folder: Path) -> None:
    await put(shop, folder / "a.csv", [mail.received() for mail in MAILS])
    before = await shop.one("SELECT day, revision FROM result_days")

    await put(shop, folder / "a.csv", [MAILS[0].received()])

    after = await shop.one("SELECT day, revision FROM result_days")
    assert after["day"] == before["day"]
    assert after["revision"] > before["revision"]
    assert (await shop.one("SELECT max(revision)::int AS n FROM result_reports"))["n"] > 1
