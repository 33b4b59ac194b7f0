"""Asking for past days of Klaviyo's events."""

from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.admin.errors import Refused
from shared.admin.sources import backfilling, sources
from shared.event_windows import asked_name, days_of
from tests.component.admin.rig import START, Rig

TODAY = START.date()
ASKED: dict[str, Any] = {"name": "api", "since": TODAY - timedelta(days=3), "until": TODAY}


@pytest.fixture
async def rig(acme: Rig) -> Rig:
    await acme.run(sources.add, {"name": "api", "kind": "klaviyo"})
    return acme


async def read(rig: Rig, day: date, state: str = "done", rows: int = 10, error: str | None = None) -> None:
    """The ingest service has had this day of the newest backfill in hand."""
    [asked] = await rig.rows("SELECT source_id, org_id, asked_at FROM event_backfills")
    await rig.rows(
        "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at,"
        " rows, fresh, error) VALUES ($1, $2, $3, $4, 0, $5, $6, $5, $5, $7, $8, $9)",
        uuid4(), asked["org_id"], asked["source_id"], asked_name(day, asked["asked_at"]), START, state, rows,
        rows // 2, error,
    )  # fmt: skip


async def test_the_days_are_kept_and_the_source_is_listed_at_once(rig: Rig) -> None:
    await rig.rows("UPDATE sources SET next_poll_at = $1", START + timedelta(hours=1))

    asked = await rig.run(backfilling.backfill, ASKED, role="editor")

    assert (asked.changed, asked.asked_at) == (True, START)
    [kept] = await rig.rows("SELECT since, until, asked_at FROM event_backfills")
    assert kept == {"since": ASKED["since"], "until": TODAY, "asked_at": START}
    assert await rig.rows("SELECT next_poll_at FROM sources") == [{"next_poll_at": None}]


async def test_asking_again_goes_on_while_days_are_missing_and_begins_anew_when_all_are_read(rig: Rig) -> None:
    await rig.run(backfilling.backfill, ASKED)
    first, second, third = days_of(ASKED["since"], ASKED["until"])
    await read(rig, first)
    rig.clock.at += timedelta(hours=1)

    while_missing = await rig.run(backfilling.backfill, ASKED)
    await read(rig, second)
    await read(rig, third)
    when_read = await rig.run(backfilling.backfill, ASKED)

    assert (while_missing.changed, while_missing.asked_at) == (False, START)
    assert (when_read.changed, when_read.asked_at) == (True, START + timedelta(hours=1))


async def test_progress_counts_days_and_events_and_names_the_first_trouble(rig: Rig) -> None:
    await rig.run(backfilling.backfill, ASKED)
    first, second, _ = days_of(ASKED["since"], ASKED["until"])
    await read(rig, first, rows=100)
    await read(rig, second, "held", rows=10, error="mostly_rejects: 9 of 10")

    reached = await rig.run(backfilling.progress, ASKED, role="viewer")

    assert (reached.days, reached.done, reached.troubled, reached.rows, reached.fresh) == (3, 1, 1, 110, 55)
    assert reached.trouble is not None
    assert reached.trouble.endswith("mostly_rejects: 9 of 10")


async def test_a_source_in_trouble_says_why_its_days_do_not_move(rig: Rig) -> None:
    await rig.run(backfilling.backfill, ASKED)
    await rig.rows("UPDATE sources SET last_error = 'Klaviyo refuses the key', last_error_at = $1", START)

    assert (await rig.run(backfilling.progress, ASKED)).trouble == "Klaviyo refuses the key"


@pytest.mark.parametrize(
    ("changes", "field", "word"),
    [
        ({"until": TODAY - timedelta(days=3)}, "until", "is not after"),
        ({"until": TODAY + timedelta(days=1)}, "until", "after today"),
        ({"since": TODAY - timedelta(days=1200)}, "since", "more than 1100 days"),
    ],
)
async def test_days_that_cannot_be_read_are_refused_by_name(
    rig: Rig, changes: dict[str, Any], field: str, word: str
) -> None:
    with pytest.raises(Refused, match=word) as refused:
        await rig.run(backfilling.backfill, ASKED | changes)
    assert refused.value.field == field


async def test_a_folder_has_no_past_days_to_ask_for(acme: Rig) -> None:
    await acme.run(sources.add, {"name": "api", "kind": "folder"})

    with pytest.raises(Refused, match="no source of Klaviyo's API"):
        await acme.run(backfilling.backfill, ASKED)
