"""Which rows of a file are new, by whichever way that is found out; and what follows from rows that only add."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.ingest.loading import fresh
from tests.component.ingest.given import SENT, Mail, Row, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig

POLICIES = "SELECT tablename, qual FROM pg_policies WHERE policyname = 'tenant' AND qual LIKE '%app.org_id%'"
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, flow_id, created_at, updated_at)
    VALUES ($1, 'welcome', 'Welcome', 'active', 'FLOW1', $2, $2)
"""


def write(path: Path, rows: list[Row]) -> None:
    path.write_bytes(nested_csv(rows))


async def put(rig: Rig, path: Path, rows: list[Row]) -> tuple[int, int]:
    """Rows of the file, and how many of them were new."""
    write(path, rows)
    await rig.settle()
    assert rig.outcomes[-1:] == [None]
    found = await rig.one("SELECT rows, fresh FROM ingest_files WHERE path LIKE '%' || $1", path.name)
    return found["rows"], found["fresh"]


@pytest.mark.parametrize(("days", "short_day_bytes"), [(1, 1 << 20), (1, 0), (fresh._MOST_DAYS + 2, 1 << 20)])
async def test_an_event_is_new_once_a_day_however_known_ones_are_looked_for(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch, days: int, short_day_bytes: int
) -> None:
    monkeypatch.setattr(fresh, "_SHORT_DAY_BYTES", short_day_bytes)
    mails = [Mail(f"T{number}", sent_at=SENT - timedelta(days=number)) for number in range(days)]
    told, twice = [mail.received() for mail in mails], mails[0].opened()
    other_day = replace(told[0], at=told[0].at - timedelta(days=1))

    assert await put(rig, folder / "a.csv", [*told, twice, twice]) == (days + 2, days + 1)
    assert await put(rig, folder / "b.csv", [mails[0].clicked(), *told, other_day]) == (days + 2, 2)
    assert await rig.event_ids() == sorted([*(row.event_id for row in told), twice.event_id, told[0].event_id] + [
        row["event_id"] for row in await rig.rows("SELECT event_id FROM events WHERE metric = 'Clicked Email'")
    ])  # fmt: skip


async def test_how_far_emails_are_told_of_is_the_newest_event_of_one(rig: Rig, folder: Path) -> None:
    """An order tells nothing of clicks, an older file nothing new, and a clock that is ahead nothing true."""
    mail = Mail("T1")
    order = Row("EV-order", "Placed Order", "P1", SENT + timedelta(minutes=50), {"$value": 10})
    await put(rig, folder / "a.csv", [mail.received(), mail.opened(after=timedelta(minutes=30)), order])
    assert await _until(rig) == timedelta(minutes=30)

    await put(rig, folder / "older.csv", [Mail("T2", sent_at=SENT - timedelta(days=1)).received()])
    await put(rig, folder / "ahead.csv", [mail.opened(after=timedelta(hours=20))])
    assert await _until(rig) == timedelta(minutes=30)

    await put(rig, folder / "b.csv", [mail.opened(after=timedelta(minutes=40))])
    assert await _until(rig) == timedelta(minutes=40)


async def test_regression_an_old_file_first_after_the_upgrade_takes_no_known_email_from_the_ranker(
    rig: Rig, folder: Path
) -> None:
    await rig.run(INSERT_TEMPLATE, rig.org_id, SENT)
    await rig.add_generation("P1", copy_id=uuid4())
    await rig.add_flow_message("ACT1", "MSG1")
    mail = Mail("T1")
    await put(rig, folder / "before.csv", [mail.received(), mail.opened()])
    await rig.run("DELETE FROM known_events")  # as an upgrade finds it

    await put(rig, folder / "backfill.csv", [Mail("T2", sent_at=SENT - timedelta(days=30)).received()])
    assert await _until(rig) == timedelta(0)

    await put(rig, folder / "after.csv", [mail.clicked()])
    assert await _until(rig) == timedelta(minutes=6)


async def _until(rig: Rig) -> timedelta:
    found = await rig.one("SELECT emails_until FROM known_events WHERE org_id = $1", rig.org_id)
    told: timedelta = found["emails_until"] - SENT
    return told


async def _sends(rig: Rig) -> list[dict[str, Any]]:
    return await rig.rows("SELECT * FROM sends ORDER BY transmission_id")


@pytest.mark.parametrize("handoff", [None, timedelta(0), timedelta(minutes=-3)])
async def test_what_later_files_say_of_a_send_is_added_to_it_unless_it_moves(
    rig: Rig, folder: Path, handoff: timedelta | None
) -> None:
    await rig.add_generation("P1", copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=10))
    await rig.add_flow_message("ACT1", "MSG1")
    mail = Mail("T1")
    await put(rig, folder / "sent.csv", [mail.received()])
    opened = mail.opened()
    if handoff is not None:
        said = {"Transmission ID": "T1", "Handoff Time": int((SENT + handoff).timestamp())}
        opened = replace(opened, properties=opened.properties | {"$internal": said})

    await put(rig, folder / "opened.csv", [opened, mail.opened(True), mail.clicked(bot=True)])
    await put(rig, folder / "clicked.csv", [mail.clicked(), mail.happened("Marked Email as Spam")])

    (send,) = before = await _sends(rig)
    assert (send["human_opens"], send["machine_opens"], send["human_clicks"], send["bot_clicks"]) == (1, 1, 1, 1)
    assert (send["spam"], send["first_open_at"], send["first_click_at"]) == (
        True, SENT + timedelta(minutes=5), SENT + timedelta(minutes=6),
    )  # fmt: skip
    assert send["sent_at"] == SENT + (handoff or timedelta(0))
    counted = await rig.one("SELECT human_opens, human_clicks, spam FROM rollups")
    assert counted == {"human_opens": 1, "human_clicks": 1, "spam": 1}
    await recount_all(rig.database, rig.org_id)
    assert await _sends(rig) == before


async def test_rows_that_are_told_again_and_alike_touch_no_send_and_keep_their_neighbours_simple(
    rig: Rig, folder: Path
) -> None:
    mails = [Mail("T1", profile_id="P1"), Mail("T2", profile_id="P2")]
    told = [row for mail in mails for row in (mail.received(), mail.opened())]
    await put(rig, folder / "a.csv", told)
    versions = "SELECT transmission_id, xmin::text AS version FROM sends ORDER BY transmission_id"
    before = await rig.rows(versions)

    assert await put(rig, folder / "b.csv", [*told, *told]) == (8, 0)
    assert await rig.rows(versions) == before
    assert await put(rig, folder / "c.csv", [*told, mails[0].opened()]) == (5, 1)

    first, second = await _sends(rig)
    assert (first["human_opens"], second["human_opens"]) == (2, 1)
    assert (await rig.rows(versions))[1] == before[1]
    assert (await rig.one("SELECT count(*) AS n FROM event_repeats"))["n"] == 8
    await recount_all(rig.database, rig.org_id)
    assert await _sends(rig) == [first, second]


async def test_sends_that_are_added_mark_the_quarters_that_showed_them_and_opens_none(rig: Rig, folder: Path) -> None:
    accepted_at = SENT - timedelta(minutes=20)
    await rig.add_generation("P1", copy_id=uuid4(), accepted_at=accepted_at)
    await rig.add_flow_message("ACT1", "MSG1")
    await rig.run("DELETE FROM shown_marks")

    await put(rig, folder / "sent.csv", [Mail("T1").received()])
    marked = await rig.rows("SELECT org_id, at, day, came FROM shown_marks")
    await put(rig, folder / "opened.csv", [Mail("T1").opened()])

    quarter = accepted_at.replace(minute=accepted_at.minute // 15 * 15)
    assert marked == [{"org_id": rig.org_id, "at": quarter, "day": None, "came": False}]
    assert await rig.rows("SELECT org_id, at, day, came FROM shown_marks") == marked


async def test_the_org_of_a_transaction_is_asked_once_a_statement_in_every_table(rig: Rig) -> None:
    await rig.run("SELECT ensure_partition('events', $1)", SENT.date())

    policies = await rig.rows(POLICIES)

    assert {"events", "sends", "generations", f"events_{SENT:%Y%m%d}"} <= {row["tablename"] for row in policies}
    assert [row["tablename"] for row in policies if "SELECT" not in row["qual"]] == []
