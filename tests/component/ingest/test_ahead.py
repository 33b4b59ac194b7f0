"""Sends that are summed up from the rows of a file are those that follow from the events."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from services.ingest.loading.staging import Staged
from services.ingest.store import settle
from tests.component.ingest.given import SENT, Mail, Row, again, json_lines, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig

SENDS = "SELECT * FROM sends ORDER BY transmission_id"
ROLLUPS = "SELECT * FROM rollups ORDER BY template_id, day, copy_id, cell"


async def _derived(rig: Rig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return await rig.rows(SENDS), await rig.rows(ROLLUPS)


def _mails(chance: Random) -> Iterator[Mail]:
    """Of few people, so that emails of one person meet; over midnight, too."""
    for number in range(60):
        yield Mail(
            f"T{number}",
            profile_id=f"P{chance.randrange(12)}",
            message_id=chance.choice(["MSG1", "MSG2", "MSG3", None]),
            flow_id=chance.choice(["FLOW1", "FLOW1", None]),
            sent_at=SENT - timedelta(minutes=chance.randrange(60 * 30)),
        )


def _happened(mail: Mail, chance: Random) -> Iterator[Row]:
    if chance.random() < 0.9:
        yield mail.received(**({"Handoff": 1} if chance.random() < 0.5 else {}))
    if chance.random() < 0.1:
        yield mail.happened_somehow("Bounced Email", cohort=True)
    for _ in range(chance.randrange(3)):
        yield mail.opened(chance.choice([True, False, None]), after=timedelta(minutes=chance.randrange(-5, 60 * 26)))
    if chance.random() < 0.3:
        yield mail.clicked(bot=chance.random() < 0.3)
    if chance.random() < 0.1:
        yield mail.happened_somehow("Unsubscribed from Email Marketing", cohort=chance.random() < 0.5)
    if chance.random() < 0.05:
        yield mail.happened("Marked Email as Spam")


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_files_bring_sends_and_rollups_are_what_all_events_say_together(
    rig: Rig, folder: Path, seed: int
) -> None:
    chance = Random(seed)
    for profile in range(12):
        for _ in range(3):
            accepted_at = SENT - timedelta(minutes=chance.randrange(60 * 32))
            await rig.add_generation(
                f"P{profile}",
                accepted_at=accepted_at,
                written_for=chance.choice(["welcome.FLOW1.ACT1", "welcome.FLOW1.ACT2", "welcome"]),
                copy_id=chance.choice([None, uuid4()]),
                decision=chance.choice([None, None, None, "written_preview"]),
            )
    await rig.add_flow_message("ACT1", "MSG1")
    await rig.add_flow_message("ACT2", "MSG2")
    rows = [row for mail in _mails(chance) for row in _happened(mail, chance)]
    chance.shuffle(rows)
    for number, file in enumerate(rows[at : at + 40] for at in range(0, len(rows), 40)):
        repeated = [again(chance.choice(rows)) for _ in range(4)]
        written = (nested_csv, json_lines)[number % 2]([*file, *repeated])
        (folder / f"events-{number}.csv").write_bytes(written)
        await rig.settle()

    before = await _derived(rig)
    assert before[0]
    assert any(send["template_id"] for send in before[0])
    await recount_all(rig.database, rig.org_id)
    assert await _derived(rig) == before


async def test_what_a_flow_sync_tells_between_staging_and_switch_counts(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.add_generation("P1", copy_id=uuid4())
    prepare = Staged.prepare

    async def prepare_and_sync(staged: Staged) -> None:
        await prepare(staged)
        await rig.add_flow_message("ACT9", "MSG1")

    monkeypatch.setattr(Staged, "prepare", prepare_and_sync)
    (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))

    await rig.settle()

    assert (await rig.send("T1"))["attribution"] == "other_message"


async def test_a_listing_does_not_wait_for_a_switch(rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "events.csv").write_bytes(nested_csv([Mail("T1").received()]))
    polled: list[str | None] = []

    async def poll_and_settle(*arguments: Any, **more: Any) -> bool:
        async with asyncio.timeout(30):  # the switch holds its row of the ledger
            await rig.poll()
        polled.append((await rig.one("SELECT last_error FROM sources"))["last_error"])
        return await settle(*arguments, **more)

    await rig.list_twice()
    rig.clock.advance(60)
    monkeypatch.setattr("services.ingest.loading.staging.settle", poll_and_settle)
    await rig.work()

    assert polled == [None]
    assert await rig.files() == {"events.csv": "done"}


async def test_opening_many_known_sends_takes_no_longer_than_bringing_them(rig: Rig, folder: Path) -> None:
    mails = [Mail(f"T{number}", profile_id=f"P{number}") for number in range(6000)]
    (folder / "sent.csv").write_bytes(nested_csv(mail.received() for mail in mails))
    began = time.monotonic()
    await rig.settle()
    bringing_s = time.monotonic() - began
    (folder / "opened.csv").write_bytes(nested_csv(mail.opened() for mail in mails))

    async with asyncio.timeout(
        max(20, 5 * bringing_s)
    ):  # joined row by row, the marks of those sends took half a minute alone
        await rig.settle()

    assert (await rig.one("SELECT sum(human_opens) AS opens FROM sends"))["opens"] == 6000


async def test_opening_many_known_sends_of_an_org_that_exports_outcomes_takes_no_longer(rig: Rig, folder: Path) -> None:
    await rig.run(
        "INSERT INTO export_targets (org_id, bucket, tables, created_at, updated_at)"
        " VALUES ($1, 'exports', '{outcomes}', $2, $2)",
        rig.org_id, SENT,
    )  # fmt: skip
    for number in range(2):
        await rig.add_generation(f"P{number}", copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=2 + 60 * number))
    mails = [Mail(f"T{number}", profile_id=f"P{number}") for number in range(8000)]
    (folder / "sent.csv").write_bytes(nested_csv(mail.received() for mail in mails))
    began = time.monotonic()
    await rig.settle()
    bringing_s = time.monotonic() - began
    await rig.run("DELETE FROM export_marks")
    (folder / "opened.csv").write_bytes(nested_csv(mail.opened() for mail in mails))

    async with asyncio.timeout(max(15, 5 * bringing_s)):  # as above, by the marks of those exports
        await rig.settle()

    assert (await rig.one("SELECT sum(human_opens) AS opens FROM sends"))["opens"] == 8000
    hours = await rig.rows("SELECT DISTINCT table_name, hour FROM export_marks ORDER BY hour")
    assert hours == [{"table_name": "outcomes", "hour": SENT - timedelta(hours=ago)} for ago in (2, 1)]
