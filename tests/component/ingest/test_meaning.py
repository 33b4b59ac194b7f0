"""What events come to mean: sends, people against machines, rollups."""

import gzip
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.component.ingest.given import COPY, SENT, Mail, Row, again, flat_csv, json_lines, mails, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig, load


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
