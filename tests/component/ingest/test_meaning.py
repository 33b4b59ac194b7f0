"""What events come to mean: sends, their generation, people against machines, rollups."""

import gzip
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.component.ingest.given import SENT, Mail, Row, again, flat_csv, json_lines, mails, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig

COPY = UUID("00000000-0000-4000-8000-000000000001")


async def load(rig: Rig, folder: Path, *rows: Row, name: str = "events.csv") -> None:
    (folder / name).write_bytes(nested_csv(rows))
    await rig.settle()
    assert rig.outcomes[-1:] == [None]
    assert (await rig.files())[name] == "done"


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (nested_csv, "nested.csv"),
        (flat_csv, "flat.csv"),
        (json_lines, "lines.jsonl"),
        (lambda rows: gzip.compress(nested_csv(rows)), "nested.csv.gz"),
        (lambda rows: gzip.compress(json_lines(rows)), "no-telling-name"),
        (lambda rows: nested_csv(rows).decode().encode("utf-16"), "utf16.csv"),
    ],
)
async def test_every_layout_means_the_same(
    rig: Rig, folder: Path, write: Callable[[Iterable[Row]], bytes], name: str
) -> None:
    generation_id = await rig.add_generation(copy_id=COPY, cell="gold")
    mail = Mail("T1")

    (folder / name).write_bytes(write([mail.received(), mail.opened(), mail.clicked()]))
    await rig.settle()

    send = await rig.send("T1")
    assert (send["generation_id"], send["copy_id"], send["cell"]) == (generation_id, COPY, "gold")
    assert (send["delivered"], send["human_opens"], send["human_clicks"]) == (True, 1, 1)
    assert send["first_open_at"] == SENT + timedelta(minutes=5)


async def test_a_send_says_which_variant_was_drawn_where_it_could_not_be_rendered(rig: Rig, folder: Path) -> None:
    """Also one that a release before attributed, once all is counted anew; and when its day of generations is gone."""
    await rig.add_generation()
    await rig.run("UPDATE generations SET drawn_copy_id = $1", COPY)

    async def drawn() -> tuple[UUID | None, UUID | None]:
        send = await rig.send("T1")
        return send["copy_id"], send["drawn_copy_id"]

    mail = Mail("T1")
    await load(rig, folder, mail.received())
    assert await drawn() == (None, COPY)

    await rig.run("UPDATE sends SET drawn_copy_id = NULL")
    await recount_all(rig.database, rig.org_id)
    assert await drawn() == (None, COPY)

    await rig.run("INSERT INTO dropped_days VALUES ($1, $2)", SENT.date(), SENT)
    await rig.run("SELECT detach_generations($1)", SENT.date())
    await recount_all(rig.database, rig.org_id)
    assert await drawn() == (None, COPY)


async def test_machines_and_bots_and_unsubscribe_links_never_count_as_people(rig: Rig, folder: Path) -> None:
    await rig.add_generation(copy_id=COPY)
    mail = Mail("T1")

    await load(
        rig,
        folder,
        mail.received(),
        mail.opened(machine_open=True),
        mail.opened(machine_open=None),
        mail.clicked(bot=True),
        mail.clicked("https://manage.kmail-lists.com/subscriptions/unsubscribe?a=1"),
        mail.clicked("https://shop.example/manage-preferences?x"),
    )

    send = await rig.send("T1")
    assert (send["human_opens"], send["machine_opens"], send["first_open_at"]) == (0, 2, None)
    assert (send["human_clicks"], send["bot_clicks"], send["first_click_at"]) == (0, 1, None)
    rollup = await rig.one("SELECT * FROM rollups")
    assert (rollup["human_opens"], rollup["machine_opens"], rollup["human_clicks"], rollup["bot_clicks"]) == (
        0,
        1,
        0,
        1,
    )


async def test_a_rollup_counts_each_send_once_per_variant_cell_and_day(rig: Rig, folder: Path) -> None:
    other = uuid4()
    for number, (copy_id, cell) in enumerate([(COPY, "gold"), (COPY, "gold"), (COPY, ""), (other, "gold"), (None, "")]):
        await rig.add_generation(f"P{number}", copy_id=copy_id, cell=cell)
    sent = mails(5)

    await load(
        rig,
        folder,
        *(mail.received() for mail in sent),
        sent[0].opened(),
        sent[0].opened(after=timedelta(hours=1)),
        sent[1].clicked(),
        sent[2].happened("Marked Email as Spam"),
        sent[3].happened("Unsubscribed from Email Marketing"),
        sent[4].opened(),
    )

    found = await rig.rows("SELECT * FROM rollups")
    counts = {
        (row["copy_id"], row["cell"]): (
            row["sends"], row["delivered"], row["human_opens"], row["human_clicks"], row["unsubscribes"], row["spam"]
        )
        for row in found
    }  # fmt: skip
    assert counts == {
        (COPY, "gold"): (2, 2, 1, 1, 0, 0),
        (COPY, ""): (1, 1, 0, 0, 0, 1),
        (other, "gold"): (1, 1, 0, 0, 1, 0),
        (None, ""): (1, 1, 1, 0, 0, 0),
    }
    assert {row["day"] for row in found} == {SENT.date()}


async def test_a_bounce_is_a_send_that_was_not_delivered(rig: Rig, folder: Path) -> None:
    await rig.add_generation(copy_id=COPY)

    await load(rig, folder, Mail("T1").happened("Bounced Email"))

    rollup = await rig.one("SELECT sends, delivered, bounces FROM rollups")
    assert rollup == {"sends": 1, "delivered": 0, "bounces": 1}


async def test_a_bounce_that_names_no_transmission_is_a_send_of_its_own_once(rig: Rig, folder: Path) -> None:
    await rig.add_generation(copy_id=COPY)
    bounce = Mail("T1").happened_somehow("Bounced Email", cohort=True)

    await load(rig, folder, bounce, again(bounce, event_id="ANOTHER", at=bounce.at + timedelta(hours=1)))

    rollup = await rig.one("SELECT sends, delivered, bounces FROM rollups")
    assert rollup == {"sends": 1, "delivered": 0, "bounces": 1}


@pytest.mark.parametrize("cohort", [True, False])
@pytest.mark.parametrize("order", [("sent", "left"), ("left", "sent"), ("both",)])
async def test_an_unsubscribe_without_transmission_finds_the_send_it_followed(
    rig: Rig, folder: Path, cohort: bool, order: tuple[str, ...]
) -> None:
    await rig.add_generation(copy_id=COPY)
    earlier = Mail("T0", sent_at=SENT - timedelta(days=3))
    mail = Mail("T1")
    left = mail.happened_somehow("Unsubscribed from Email Marketing", timedelta(hours=1), cohort=cohort)
    complaint = mail.happened_somehow("Marked Email as Spam", timedelta(hours=2), cohort=cohort)
    stranger = Mail("T9", message_id="MSG9").happened_somehow("Unsubscribed from Email Marketing")
    await load(rig, folder, earlier.received(), stranger, name="0.csv")
    files = {"sent": [mail.received()], "left": [left, complaint], "both": [left, complaint, mail.received()]}

    for number, name in enumerate(order, 1):
        await load(rig, folder, *files[name], name=f"{number}.csv")

    send = await rig.send("T1")
    assert (send["unsubscribed"], send["spam"]) == (True, True)
    assert not (await rig.send("T0"))["unsubscribed"]
    sends = await rig.rows("SELECT * FROM sends ORDER BY transmission_id")
    await recount_all(rig.database, rig.org_id)
    assert await rig.rows("SELECT * FROM sends ORDER BY transmission_id") == sends


async def test_opens_that_come_before_their_delivery_are_counted_when_it_comes(rig: Rig, folder: Path) -> None:
    await rig.add_generation(copy_id=COPY)
    mail = Mail("T1")

    await load(rig, folder, mail.opened(), mail.clicked(), name="1.csv")
    before = await rig.rows("SELECT * FROM sends")
    await load(rig, folder, mail.received(), name="2.csv")

    assert before == []
    send = await rig.send("T1")
    assert (send["human_opens"], send["human_clicks"], send["copy_id"]) == (1, 1, COPY)


async def test_an_open_days_later_changes_the_day_of_sending(rig: Rig, folder: Path) -> None:
    await rig.add_generation(copy_id=COPY)
    mail = Mail("T1")
    await load(rig, folder, mail.received(), name="1.csv")
    rig.clock.advance(5 * 86400)

    await load(rig, folder, mail.opened(after=timedelta(days=5)), name="2.csv")

    rollup = await rig.one("SELECT day, delivered, human_opens FROM rollups")
    assert rollup == {"day": SENT.date(), "delivered": 1, "human_opens": 1}


# --- attribution


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
