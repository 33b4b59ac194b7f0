"""What a row does not say is no correction: an event is what the newest say of those that say something."""

import os
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests.component.ingest.given import Mail, Row, again, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_tracing import seen, trace

MAIL = Mail("T0", "P0")
RECEIVED, OPENED = MAIL.received(), MAIL.opened(machine_open=False)
OLDER, NEWER, NEWEST = 1_600_000_000, 1_600_000_060, 1_600_000_120
ROW = "SELECT message_id, flow_id, transmission_id, machine_open FROM events WHERE event_id = $1"


def without(row: Row, *names: str) -> Row:
    """The same event, of which less is said."""
    return again(row, properties={name: said for name, said in row.properties.items() if name not in names})


def write(path: Path, rows: Sequence[Row], mtime: int) -> None:
    path.write_bytes(nested_csv(rows))
    os.utime(path, (mtime, mtime))


async def put(rig: Rig, path: Path, rows: Sequence[Row], mtime: int) -> None:
    write(path, rows, mtime)
    await rig.settle()
    assert rig.outcomes[-1:] == [None]


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


async def clear(rig: Rig, folder: Path) -> None:
    for table in ("ingest_files", "event_repeats", "events", "sends", "rollups"):
        await rig.run(f"DELETE FROM {table}")
    empty(folder)


async def told_by(rig: Rig, row: Row) -> str:
    found = await rig.one(
        "SELECT f.path FROM events JOIN ingest_files f USING (file_id) WHERE event_id = $1", row.event_id
    )
    return Path(found["path"]).name


async def stored(rig: Rig) -> tuple[list[dict[str, Any]], ...]:
    events = await rig.rows(
        "SELECT event_id, event_at, message_id, flow_id, transmission_id, machine_open FROM events ORDER BY 1"
    )
    derived = [await rig.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in ("sends", "rollups")]
    return events, *derived


@pytest.mark.parametrize("left_out", [("machine_open",), ("$internal",), ("$internal", "$message", "machine_open")])
async def test_a_newer_file_that_says_less_changes_nothing_whichever_is_read_last(
    rig: Rig, folder: Path, left_out: tuple[str, ...]
) -> None:
    rich, poor = [RECEIVED, OPENED], [without(RECEIVED, *left_out), without(OPENED, *left_out)]
    await put(rig, folder / "rich.csv", rich, OLDER)
    alone = await stored(rig)

    await put(rig, folder / "poor.csv", poor, NEWER)
    assert await stored(rig) == alone
    await clear(rig, folder)
    await put(rig, folder / "poor.csv", poor, NEWER)
    await put(rig, folder / "rich.csv", rich, OLDER)

    assert await stored(rig) == alone
    send = await rig.send("T0")
    assert (send["delivered"], send["human_opens"], send["machine_opens"]) == (True, 1, 0)
    assert await told_by(rig, OPENED) == "rich.csv"
    await recount_all(rig.database, rig.org_id)
    assert await stored(rig) == alone


async def test_what_several_files_say_in_part_is_one_event_in_whichever_order_they_come(rig: Rig, folder: Path) -> None:
    said = {
        "hook.csv": ([without(OPENED, "$internal")], NEWEST),
        "plain.csv": ([without(OPENED, "machine_open")], NEWER),
        "flow.csv": ([RECEIVED, without(OPENED, "$message", "machine_open")], OLDER),
    }
    seen_so: list[tuple[list[dict[str, Any]], ...]] = []
    for order in permutations(said):
        for name in order:
            await put(rig, folder / name, *said[name])
        seen_so.append(await stored(rig))
        assert await told_by(rig, OPENED) == "hook.csv"
        await clear(rig, folder)

    assert all(one == seen_so[0] for one in seen_so)
    (opened,) = [row for row in seen_so[0][0] if row["event_id"] == OPENED.event_id]
    assert (opened["message_id"], opened["transmission_id"], opened["machine_open"]) == ("MSG1", "T0", False)
    assert seen_so[0][1][0]["human_opens"] == 1


async def test_a_later_version_of_a_file_takes_back_a_value_that_it_leaves_out(rig: Rig, folder: Path) -> None:
    await put(rig, folder / "a.csv", [RECEIVED, OPENED], OLDER)

    await put(rig, folder / "a.csv", [RECEIVED, without(OPENED, "machine_open")], NEWER)

    send = await rig.send("T0")
    assert (send["human_opens"], send["machine_opens"]) == (0, 1)


async def test_what_another_file_filled_in_goes_or_changes_with_that_file(rig: Rig, folder: Path) -> None:
    other = Mail("T1", "P0").received()
    moved = again(OPENED, properties=OPENED.properties | {"$internal": {"Transmission ID": "T1"}})
    await put(rig, folder / "sent.csv", [RECEIVED, other], OLDER)
    await put(rig, folder / "a.csv", [without(OPENED, "machine_open")], OLDER)
    await put(rig, folder / "b.csv", [without(OPENED, "$internal")], NEWEST)
    assert (await rig.send("T0"))["human_opens"] == 1

    await put(rig, folder / "a.csv", [without(moved, "machine_open")], NEWER)
    assert [(await rig.send(name))["human_opens"] for name in ("T0", "T1")] == [0, 1]
    await put(rig, folder / "a.csv", [], NEWER + 1)
    assert await rig.one(ROW, OPENED.event_id) == {
        "message_id": "MSG1", "flow_id": "FLOW1", "transmission_id": None, "machine_open": False,
    }  # fmt: skip
    await put(rig, folder / "b.csv", [], NEWEST + 1)

    assert await rig.event_ids() == sorted([RECEIVED.event_id, other.event_id])
    assert await rig.rows("SELECT * FROM event_repeats") == []


async def test_another_name_of_the_same_bytes_says_what_they_say_and_not_what_was_filled_in(
    rig: Rig, folder: Path
) -> None:
    part = [without(OPENED, "$internal")]
    await put(rig, folder / "a.csv", part, NEWER)
    await put(rig, folder / "copy.csv", part, NEWEST)
    await put(rig, folder / "b.csv", [RECEIVED, without(OPENED, "machine_open")], OLDER)
    assert (await rig.send("T0"))["human_opens"] == 1

    await put(rig, folder / "a.csv", [], NEWEST + 1)
    assert (await rig.send("T0"))["human_opens"] == 1
    await put(rig, folder / "b.csv", [RECEIVED], NEWEST + 2)

    assert (await rig.send("T0"))["human_opens"] == 0
    assert (await rig.one(ROW, OPENED.event_id))["transmission_id"] is None


async def test_a_file_whose_row_was_filled_in_is_seen_once(rig: Rig, folder: Path) -> None:
    await put(rig, folder / "a.csv", [RECEIVED, without(OPENED, "machine_open")], OLDER)
    await put(rig, folder / "b.csv", [without(OPENED, "$internal")], NEWER)

    assert seen(await trace(rig, OPENED.event_id)) == [("b.csv", 2, "row", False), ("a.csv", 3, "other", False)]
