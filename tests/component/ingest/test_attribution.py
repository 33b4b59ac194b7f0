"""Which generation an email showed."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.component.ingest.given import COPY, SENT, Mail
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig, load


async def test_the_synced_flow_tells_which_generation_a_message_showed(rig: Rig, folder: Path) -> None:
    await rig.add_flow_message("ACT1", "MSG1")
    await rig.add_flow_message("ACT2", "MSG2")
    first = await rig.add_generation(copy_id=COPY, written_for="welcome.FLOW1.ACT1")
    second = await rig.add_generation(
        copy_id=uuid4(), written_for="reminder.FLOW1.ACT2", accepted_at=SENT - timedelta(minutes=1)
    )

    await load(rig, folder, Mail("T1", message_id="MSG1").received(), Mail("T2", message_id="MSG2").received())

    sends = [await rig.send("T1"), await rig.send("T2")]
    assert [send["generation_id"] for send in sends] == [first, second]
    assert [send["attribution"] for send in sends] == ["message", "message"]
    assert [send["template_id"] for send in sends] == ["welcome", "reminder"]


async def test_an_email_that_took_the_longest_way_finds_its_generation(rig: Rig, folder: Path) -> None:
    await rig.add_flow_message("ACT1", "MSG1")
    await rig.run("UPDATE flow_messages SET latest_s = 5 * 86400")
    delay = timedelta(days=5)
    generation_id = await rig.add_generation(copy_id=COPY, accepted_at=SENT - delay, delay=delay)

    await load(rig, folder, Mail("T1").received(), name="1.csv")

    assert (await rig.send("T1"))["generation_id"] == generation_id


async def test_an_email_keeps_its_generation_when_the_delay_it_came_of_is_in_use_no_more(
    rig: Rig, folder: Path
) -> None:
    await rig.add_flow_message("ACT1", "MSG1")
    await rig.run("UPDATE flow_messages SET delay_s = 5 * 86400")
    delay = timedelta(days=5)
    generation_id = await rig.add_generation(copy_id=COPY, accepted_at=SENT - delay, delay=delay)
    await load(rig, folder, Mail("T1").received(), name="1.csv")
    assert (await rig.send("T1"))["generation_id"] == generation_id

    await rig.run("UPDATE flow_messages SET delay_s = 120")
    await load(rig, folder, Mail("T1").happened_somehow("Unsubscribed"), name="2.csv")

    send = await rig.send("T1")
    assert (send["unsubscribed"], send["attribution"], send["generation_id"]) == (True, "message", generation_id)
    assert (await rig.one("SELECT sends, unsubscribes FROM rollups")) == {"sends": 1, "unsubscribes": 1}


async def test_without_a_synced_flow_the_newest_generation_of_the_flow_is_taken(rig: Rig, folder: Path) -> None:
    await rig.add_generation(copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=30))
    newest = await rig.add_generation(copy_id=COPY, accepted_at=SENT - timedelta(minutes=3))
    await rig.add_generation(copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=1), written_for="other.FLOW9.ACT9")
    await rig.add_generation(copy_id=uuid4(), accepted_at=SENT + timedelta(seconds=1))

    await load(rig, folder, Mail("T1").received())

    send = await rig.send("T1")
    assert (send["generation_id"], send["attribution"]) == (newest, "flow")


@pytest.mark.parametrize("how", ["all in one file", pytest.param("known before", marks=pytest.mark.long)])
async def test_of_two_generations_of_one_moment_the_larger_id_is_taken_whichever_came_first(
    rig: Rig, folder: Path, how: str
) -> None:
    people = [f"P{number}" for number in range(8)]
    expected = {}
    for person in people:
        both = [
            await rig.add_generation(person, copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=3)) for _ in "12"
        ]
        expected[person] = max(both)
    sent = [Mail(f"T{person}", person) for person in people]
    if how == "known before":
        await load(rig, folder, *(mail.opened() for mail in sent), name="0.csv")

    await load(rig, folder, *(mail.received() for mail in sent))

    sends = await rig.rows("SELECT profile_id, generation_id FROM sends")
    assert {send["profile_id"]: send["generation_id"] for send in sends} == expected


async def test_the_hand_over_counts_not_the_delivery(rig: Rig, folder: Path) -> None:
    shown = await rig.add_generation(copy_id=COPY, accepted_at=SENT - timedelta(minutes=30))
    await rig.add_generation(copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=10))
    handed_over = (SENT - timedelta(minutes=20)).timestamp()
    internal = {"Transmission ID": "T1", "Handoff Time": handed_over}

    await load(rig, folder, Mail("T1").received(**{"$internal": internal}))

    assert (await rig.send("T1"))["generation_id"] == shown


@pytest.mark.parametrize(
    ("generation", "mail", "reason"),
    [
        (None, {}, "no_generation"),
        ({"profile_id": "P2"}, {}, "no_generation"),
        ({"accepted_at": SENT + timedelta(seconds=1)}, {}, "no_generation"),
        ({"accepted_at": SENT - timedelta(days=2)}, {}, "no_generation"),
        ({"written_for": "welcome.FLOW9.ACT9"}, {}, "other_message"),
        ({"written_for": "welcome.FLOW1.SYNCED"}, {}, "other_message"),
        ({"written_for": "welcome.FLOW1.ACT1"}, {"message_id": "SYNCED_MSG"}, "other_message"),
        ({}, {"flow_id": None, "message_id": "01CAMPAIGN"}, "not_a_flow"),
    ],
)
async def test_a_send_that_showed_no_generation_says_why(
    rig: Rig, folder: Path, generation: dict[str, Any] | None, mail: dict[str, Any], reason: str
) -> None:
    await rig.add_flow_message("SYNCED", "SYNCED_MSG")
    if generation is not None:
        await rig.add_generation(**({"copy_id": COPY} | generation))

    await load(rig, folder, Mail("T1", **mail).received())

    send = await rig.send("T1")
    assert (send["attribution"], send["template_id"], send["generation_id"]) == (reason, None, None)
    assert await rig.rows("SELECT * FROM rollups") == []


async def test_a_webhook_without_flow_in_its_tracking_id_is_matched_by_its_template(rig: Rig, folder: Path) -> None:
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, flow_id, created_at, updated_at)"
        " VALUES ($1, 'welcome', 'Welcome', 'FLOW1', $2, $2)",
        rig.org_id, SENT,
    )  # fmt: skip
    generation_id = await rig.add_generation(copy_id=COPY, written_for="welcome")

    await load(rig, folder, Mail("T1").received())

    assert (await rig.send("T1"))["generation_id"] == generation_id


async def test_a_long_delay_is_looked_back_over(rig: Rig, folder: Path) -> None:
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, delay_s, created_at, updated_at)"
        " VALUES ($1, 'welcome', 'Welcome', 1814400, $2, $2)",
        rig.org_id, SENT,
    )  # fmt: skip
    delay = timedelta(days=21)
    generation_id = await rig.add_generation(copy_id=COPY, accepted_at=SENT - delay, delay=delay)

    await load(rig, folder, Mail("T1").received())

    assert (await rig.send("T1"))["generation_id"] == generation_id


async def test_other_orgs_generations_are_never_taken(rig: Rig, folder: Path) -> None:
    stranger = Rig(rig.database, uuid4())
    await stranger.add_org("other")
    await stranger.add_generation(copy_id=COPY)

    await load(rig, folder, Mail("T1").received())

    assert (await rig.send("T1"))["attribution"] == "no_generation"


async def test_rebuilding_gives_what_loading_gave(rig: Rig, folder: Path) -> None:
    for number in range(6):
        await rig.add_generation(f"P{number}", copy_id=COPY if number % 2 else None, cell=f"c{number % 3}")
    sent = [Mail(f"T{number}", f"P{number}", sent_at=SENT + timedelta(hours=number)) for number in range(6)]
    await load(rig, folder, *(mail.received() for mail in sent), sent[1].opened(), sent[2].clicked())
    everything = "SELECT * FROM rollups ORDER BY template_id, copy_id, cell, day"
    sends = await rig.rows("SELECT * FROM sends ORDER BY transmission_id")
    rollups = await rig.rows(everything)

    await rig.run("UPDATE sends SET human_opens = 99, copy_id = NULL, cell = 'wrong'")
    await rig.run(
        "INSERT INTO rollups VALUES ($1, 'gone', NULL, '', '2026-11-01', 9, 9, 9, 9, 9, 9, 9, 9, 9)", rig.org_id
    )
    assert await recount_all(rig.database, rig.org_id) > 2

    assert await rig.rows("SELECT * FROM sends ORDER BY transmission_id") == sends
    assert await rig.rows(everything) == rollups
    assert rollups


async def test_a_later_flow_sync_corrects_attribution_when_rebuilt(rig: Rig, folder: Path) -> None:
    first = await rig.add_generation(copy_id=COPY, accepted_at=SENT - timedelta(minutes=4))
    await rig.add_generation(
        copy_id=uuid4(), accepted_at=SENT - timedelta(minutes=1), written_for="reminder.FLOW1.ACT2"
    )
    await load(rig, folder, Mail("T1").received())
    guessed = await rig.send("T1")
    await rig.add_flow_message("ACT1", "MSG1")
    await rig.add_flow_message("ACT2", "MSG2")

    await recount_all(rig.database, rig.org_id)

    send = await rig.send("T1")
    assert (guessed["attribution"], guessed["template_id"]) == ("flow", "reminder")
    assert (send["attribution"], send["generation_id"]) == ("message", first)
    assert await rig.rows("SELECT template_id, sends FROM rollups") == [{"template_id": "welcome", "sends": 1}]


async def test_an_email_after_a_preview_that_was_only_looked_at_is_the_real_generations(rig: Rig, folder: Path) -> None:
    real = await rig.add_generation(copy_id=COPY)
    await rig.add_generation(copy_id=uuid4(), decision="preview", accepted_at=SENT - timedelta(minutes=1))

    await load(rig, folder, Mail("T1").received())

    send = await rig.send("T1")
    assert (send["attribution"], send["generation_id"], send["copy_id"]) == ("flow", real, COPY)


async def test_an_email_that_shows_a_written_preview_counts_for_nobody(rig: Rig, folder: Path) -> None:
    await rig.add_generation(copy_id=COPY, cell="gold")
    await rig.add_generation(
        copy_id=COPY, cell="gold", decision="written_preview", accepted_at=SENT - timedelta(minutes=1)
    )

    await load(rig, folder, Mail("T1").received(), Mail("T1").clicked())

    send = await rig.send("T1")
    assert (send["attribution"], send["generation_id"], send["template_id"], send["copy_id"], send["cell"]) == (
        "preview", None, None, None, "",
    )  # fmt: skip
    assert await rig.rows("SELECT * FROM rollups") == []
