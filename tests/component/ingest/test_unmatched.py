"""Emails that come before their generation, or before their flow is synced, are matched later, and counted as if they
had come after."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.ingest.attribution.looks import EVERY, LONGEST, Looks
from services.ingest.attribution.unmatched import StoredUnmatched
from shared import metrics
from tests.component.ingest.given import SENT, Mail, Row, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig

COPY = UUID("00000000-0000-4000-8000-000000000001")
SENDS = "SELECT * FROM sends ORDER BY transmission_id"
ROLLUPS = "SELECT * FROM rollups ORDER BY template_id, day, copy_id, cell"
WAITING = "SELECT day, message_id, no_generation::int, other_message::int, not_synced::int FROM unmatched ORDER BY 1, 2"


def given_up() -> float:
    """Emails that this process has given up. A counter tells its first numbers at the second scrape only."""
    metrics.exposition()
    return metrics.REGISTRY.get_sample_value("jai_ingest_unmatched_total", {"outcome": "given_up"}) or 0


def retried(rig: Rig, batch: int = 1000) -> StoredUnmatched:
    return StoredUnmatched(rig.database, uuid4, rig.clock, timedelta(days=1), batch)


async def look(rig: Rig, batch: int = 1000) -> int:
    """What the runner does until nothing is due; how many messages' days were looked at."""
    stored, done = retried(rig, batch), 0
    await stored.follow(rig.clock.now())
    while await stored.try_one(rig.clock.now()):
        done += 1
    return done


async def load(rig: Rig, folder: Path, *rows: Row, name: str = "events.csv") -> None:
    (folder / name).write_bytes(nested_csv(rows))
    await rig.settle()
    assert (await rig.files())[name] == "done"


async def add_template(rig: Rig, template_id: str = "welcome") -> None:
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, state, flow_id, created_at, updated_at) "
        "VALUES ($1, $2, $2, 'active', 'FLOW1', $3, $3)",
        rig.org_id, template_id, SENT,
    )  # fmt: skip


async def demand_exact(rig: Rig) -> None:
    """What was counted is what all events say."""
    before = await rig.rows(SENDS), await rig.rows(ROLLUPS)
    await recount_all(rig.database, rig.org_id)
    assert (await rig.rows(SENDS), await rig.rows(ROLLUPS)) == before


async def raised_days(rig: Rig) -> dict[date, int]:
    return {row["day"]: row["revision"] for row in await rig.rows("SELECT day, revision FROM result_days")}


async def test_a_send_that_comes_before_its_generation_is_matched_when_that_is_stored(rig: Rig, folder: Path) -> None:
    mail, other = Mail("T1"), Mail("T2", "P2", "MSG2")
    await load(rig, folder, mail.received(), mail.clicked(), other.received())
    await look(rig)
    waiting = await rig.rows(WAITING)
    raised = await raised_days(rig)
    generation_id = await rig.add_generation(copy_id=COPY, cell="gold")

    rig.clock.advance(EVERY.total_seconds() - 1)
    early = await look(rig)
    rig.clock.advance(EVERY.total_seconds() + 1)
    late = await look(rig)

    assert [(row["message_id"], row["no_generation"]) for row in waiting] == [("MSG1", 1), ("MSG2", 1)]
    assert (early, late) == (0, 2)
    send = await rig.send("T1")
    assert (send["attribution"], send["generation_id"], send["human_clicks"]) == ("flow", generation_id, 1)
    assert await rig.rows("SELECT template_id, cell, sends::int, human_clicks::int FROM rollups") == [
        {"template_id": "welcome", "cell": "gold", "sends": 1, "human_clicks": 1}
    ]
    assert (await raised_days(rig))[SENT.date()] > raised[SENT.date()]
    assert [row["message_id"] for row in await rig.rows(WAITING)] == ["MSG2"]
    await demand_exact(rig)


async def test_a_flow_that_is_synced_late_has_what_it_tells_of_attributed_anew(rig: Rig, folder: Path) -> None:
    await add_template(rig)
    await add_template(rig, "reminder")
    first = await rig.add_generation(copy_id=COPY, accepted_at=SENT - timedelta(minutes=4))
    await rig.add_generation(
        copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=1), written_for="reminder.FLOW1.ACT2"
    )
    campaign = Mail("T2", message_id="MSG3", flow_id=None)  # as rows without `$flow` look
    second = await rig.add_generation(copy_id=COPY, accepted_at=SENT - timedelta(minutes=5), written_for="x.F.ACT3")
    await load(rig, folder, Mail("T1").received(), campaign.received())
    await look(rig)
    before = [(row["message_id"], row["not_synced"]) for row in await rig.rows(WAITING)]

    for action_id, message_id in (("ACT1", "MSG1"), ("ACT2", "MSG2"), ("ACT3", "MSG3")):
        await rig.add_flow_message(action_id, message_id)
    await look(rig)

    assert before == [("MSG1", 1)]
    sends = {row["transmission_id"]: row for row in await rig.rows(SENDS)}
    assert (sends["T1"]["attribution"], sends["T1"]["generation_id"]) == ("message", first)
    assert (sends["T2"]["attribution"], sends["T2"]["generation_id"]) == ("message", second)
    assert await rig.rows(WAITING) == []
    await demand_exact(rig)


@pytest.mark.long
async def test_looks_that_find_nothing_become_seldom_and_a_file_with_more_makes_them_soon(
    rig: Rig, folder: Path
) -> None:
    await load(rig, folder, Mail("T1").received())
    looked_at = []
    for _ in range(int(timedelta(hours=24) / EVERY)):
        if await look(rig):
            looked_at.append(rig.clock.now())
        rig.clock.advance(EVERY.total_seconds())
    rests = [(later - earlier) / EVERY for earlier, later in pairwise(looked_at)]
    await load(rig, folder, Mail("T2").received(), name="more.csv")
    soon = await look(rig)

    assert rests[:7] == [1, 2, 4, 8, 16, 32, 64]
    assert max(rests) <= LONGEST / EVERY
    assert soon == 1
    assert (await rig.one(WAITING))["no_generation"] == 2


async def test_after_a_week_an_email_is_given_up_and_said_to_be(rig: Rig, folder: Path) -> None:
    await load(rig, folder, Mail("T1").received())
    before = given_up()
    rig.clock.advance(timedelta(days=7).total_seconds())
    on_the_last_day = await look(rig)
    waiting = metrics.REGISTRY.get_sample_value("jai_ingest_waiting", {"reason": "no_generation"})
    await retried(rig).follow(rig.clock.now())
    counted = metrics.REGISTRY.get_sample_value("jai_ingest_waiting", {"reason": "no_generation"})
    await rig.add_generation(copy_id=COPY)
    rig.clock.advance(timedelta(days=1).total_seconds())

    assert (on_the_last_day, await look(rig)) == (1, 0)
    assert (waiting, counted) == (0, 1)
    assert given_up() == before + 1
    assert (await rig.send("T1"))["attribution"] == "no_generation"
    assert await rig.rows(WAITING) == []


@pytest.mark.long
async def test_many_emails_of_one_day_are_looked_at_in_batches(rig: Rig, folder: Path) -> None:
    mails = [Mail(f"T{number:02}", f"P{number}", message_id=None) for number in range(30)]
    await load(rig, folder, *(mail.received() for mail in mails))
    for number in range(0, 30, 2):
        await rig.add_generation(f"P{number}", copy_id=COPY)

    assert await look(rig, batch=7) == 1

    matched = await rig.rows("SELECT profile_id FROM sends WHERE template_id IS NOT NULL")
    assert {row["profile_id"] for row in matched} == {f"P{number}" for number in range(0, 30, 2)}
    assert (await rig.one(WAITING))["no_generation"] == 15
    await demand_exact(rig)


async def test_who_dies_while_looking_leaves_the_message_for_another(
    rig: Rig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(rig, folder, Mail("T1").received())
    await rig.add_generation(copy_id=COPY)

    async def die(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(Looks, "_settle", die)
        with pytest.raises(RuntimeError):
            await look(rig)
    held = await look(rig)
    rig.clock.advance(timedelta(minutes=11).total_seconds())

    assert (held, await look(rig)) == (0, 1)
    assert (await rig.send("T1"))["template_id"] == "welcome"


async def test_opens_and_clicks_without_their_email_are_counted_once_an_hour(rig: Rig, folder: Path) -> None:
    mail, stored = Mail("T1"), retried(rig)
    await load(rig, folder, mail.opened(), mail.clicked(), Mail("T2").received(), Mail("T2").opened())
    await stored.follow(rig.clock.now())

    first = [await stored.count_one(rig.clock.now()) for _ in range(2)]
    waiting = (await rig.one("SELECT no_delivery::int AS n FROM unmatched_orgs"))["n"]
    await load(rig, folder, mail.received(), name="later.csv")
    rig.clock.advance(3601)
    await stored.count_one(rig.clock.now())

    assert (first, waiting) == ([True, False], 2)
    assert (await rig.one("SELECT no_delivery::int AS n FROM unmatched_orgs"))["n"] == 0
