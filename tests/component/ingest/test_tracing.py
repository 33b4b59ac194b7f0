"""From an event to file and line, to the email and the cell that it counts in; and why one counts for nothing."""

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from shared.admin.errors import NotFound
from shared.admin.sources.tracing import Traced, show
from tests.component.admin.rig import Rig as AdminRig
from tests.component.ingest.given import Mail, Row, again, nested_csv
from tests.component.ingest.rig import Rig

COPY = UUID("00000000-0000-4000-8000-000000000001")


async def trace(rig: Rig, event_id: str) -> Traced:
    [traced] = (await AdminRig(rig.database, rig.org_id, "shop").run(show, {"event_id": event_id}, "editor")).events
    return traced


async def put(rig: Rig, folder: Path, name: str, *rows: Row, mtime: int) -> None:
    path = folder / name
    path.write_bytes(nested_csv(rows))
    os.utime(path, (mtime, mtime))
    await rig.settle()


def seen(traced: Traced) -> list[tuple[str, int | None, str, bool]]:
    return [(Path(one.path).name, one.line, one.how, one.replaced) for one in traced.sightings]


async def test_an_event_is_traced_to_all_that_say_it_and_to_its_cell(rig: Rig, folder: Path) -> None:
    generation_id = await rig.add_generation(copy_id=COPY, cell="gold")
    mail = Mail("T1")
    received, opened = mail.received(), mail.opened()
    machine = again(opened, properties=opened.properties | {"machine_open": True})
    await put(rig, folder, "a.csv", received, opened, mtime=1_700_000_000)
    await put(rig, folder, "b.csv", opened, mtime=1_700_000_001)
    await put(rig, folder, "copy.csv", opened, mtime=1_700_000_002)
    await put(rig, folder, "old.csv", received, machine, mtime=1_600_000_000)

    traced = await trace(rig, opened.event_id)

    assert seen(traced)[0] == ("a.csv", 3, "row", False)
    assert sorted(seen(traced)[1:]) == [
        ("b.csv", 2, "same", False), ("copy.csv", 2, "copy", False), ("old.csv", 3, "other", False),
    ]  # fmt: skip
    assert traced.send is not None
    assert (traced.send.generation_id, traced.send.template_id, traced.send.cell) == (generation_id, "welcome", "gold")
    assert (traced.counts_as, traced.why_not) == ("an open by a person", None)
    assert traced.cell is not None
    assert (traced.cell.sends, traced.cell.human_opens) == (1, 1)
    assert [other.event_id for other in traced.others] == [received.event_id]


async def test_a_row_that_an_older_version_brought_names_the_version_that_has_it_now(rig: Rig, folder: Path) -> None:
    rows = [Mail(f"T{number}").received() for number in range(3)]
    await put(rig, folder, "a.csv", *rows[:2], mtime=1_700_000_000)
    await put(rig, folder, "a.csv", *rows, mtime=1_700_000_001)

    traced = await trace(rig, rows[0].event_id)

    assert seen(traced) == [("a.csv", 2, "row", True), ("a.csv", None, "version", False)]


@pytest.mark.parametrize(
    ("row", "why"),
    [(Mail("T1", flow_id=None).received(), "its email is of a campaign"),
     (Mail("T1", "P9").received(), "no generation"),
     (Mail("T2").opened(), "no event says that its email was sent"),
     (Row("EVX", "Viewed Product", "P1", Mail("T1").sent_at, {}), "it names no email")],
)  # fmt: skip
async def test_an_event_that_counts_for_nothing_says_why(rig: Rig, folder: Path, row: Row, why: str) -> None:
    await put(rig, folder, "a.csv", row, mtime=1_700_000_000)

    traced = await trace(rig, row.event_id)

    assert traced.counts_as is None
    assert why in str(traced.why_not)


async def test_an_event_that_nobody_said_is_not_found_and_another_orgs_neither(rig: Rig, folder: Path) -> None:
    row = Mail("T1").received()
    await put(rig, folder, "a.csv", row, mtime=1_700_000_000)
    other: Any = await AdminRig(rig.database, rig.org_id, "shop").other()

    with pytest.raises(NotFound):
        await trace(rig, "EV-NONE")
    with pytest.raises(NotFound):
        await other.run(show, {"event_id": row.event_id})
