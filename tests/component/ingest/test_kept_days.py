"""Days of events go by age, and what was made of them stays: nothing is counted twice, and nothing is lost."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from services.ingest.app import build
from services.ingest.attribution.recounter import recount_one
from services.ingest.loading.switch import begin_switch
from services.ingest.retention import Days, Retention
from services.ingest.settings import Settings
from shared.db import days as partitions
from tests.component.ingest.given import SENT, Mail, Row, again, nested_csv
from tests.component.ingest.rig import RING, Rig
from tests.component.ingest.test_conversions import counts, order, refund

COPY = UUID("00000000-0000-4000-8000-000000000001")
DAY = timedelta(days=1)
KEEP = 100
OLD, EDGE, YOUNG = Mail("T1"), Mail("T2", "P2", sent_at=SENT + DAY), Mail("T3", "P3", sent_at=SENT + 30 * DAY)
OLD_ROWS = [
    OLD.received(), OLD.opened(), OLD.clicked(), order(1, timedelta(hours=2)), refund(1, timedelta(hours=9), 20),
]  # fmt: skip
MADE = ("sends", "conversions", "rollups")


@pytest.fixture
async def shop(rig: Rig, folder: Path) -> Rig:
    """Emails, orders and a refund of three days, loaded while they were young; then so late that the first day is too
    old."""
    await counts(rig)
    for mail in (OLD, EDGE, YOUNG):
        await rig.add_generation(mail.profile_id, copy_id=COPY, cell="gold", accepted_at=mail.sent_at - DAY / 720)
    rig.clock.advance(31 * 86_400)
    edge = [EDGE.received(), EDGE.opened(), EDGE.opened(after=-DAY / 2)]
    await load(rig, folder, "first.csv", [*OLD_ROWS, *edge, YOUNG.received(), order(3, 31 * DAY, person="P3")])
    rig.clock.advance((SENT + (KEEP + 1) * DAY - rig.clock.now()).total_seconds())
    return rig


async def load(rig: Rig, folder: Path, name: str, rows: Sequence[Row]) -> None:
    (folder / name).write_bytes(nested_csv(rows))
    await rig.settle()
    assert rig.outcomes[-1:] == [None]


def keeper(rig: Rig) -> Retention:
    return Retention(Days(rig.database), rig.clock, KEEP)


async def keep(rig: Rig) -> None:
    """One look, to its end."""
    retention = keeper(rig)
    while await retention.step() is not None:
        pass


async def made(rig: Rig) -> list[list[dict[str, Any]]]:
    """All that follows from events."""
    return [await rig.rows(f"SELECT * FROM {table} t ORDER BY t::text") for table in MADE]


async def days(rig: Rig) -> list[date]:
    return [row["day"] for row in await rig.rows("SELECT DISTINCT day FROM events ORDER BY 1")]


async def tables(rig: Rig, like: str) -> list[str]:
    return [row["relname"] for row in await rig.rows("SELECT relname FROM pg_class WHERE relname LIKE $1", like)]


@pytest.mark.parametrize(("days", "runs"), [(None, False), (100, True)])
async def test_nothing_goes_unless_it_is_said_how_long_it_is_kept(
    database_url: str, amqp_url: str, days: int | None, runs: bool
) -> None:
    settings = Settings(
        database_url=SecretStr(database_url),
        amqp_url=SecretStr(amqp_url),
        seal_keys=SecretStr(RING),
        api_key_peppers=SecretStr("1:" + "A" * 43 + "="),
        ingest_keep_days=days,
    )
    async with AsyncExitStack() as stack:
        service = await build(settings, stack)

    assert ("retention" in service.runners) == runs


async def test_a_day_that_is_old_enough_goes_and_what_was_made_of_it_stays(shop: Rig) -> None:
    before = await made(shop)

    await keep(shop)

    assert all(before)
    assert await made(shop) == before
    assert await days(shop) == [(SENT + DAY).date(), (SENT + 30 * DAY).date(), (SENT + 31 * DAY).date()]
    assert await shop.one("SELECT since FROM events_kept") == {"since": (SENT + DAY).date()}
    assert await tables(shop, "%events_20261123%") == []
    assert await tables(shop, "events_history") == []


async def test_days_that_are_young_enough_all_stay(shop: Rig) -> None:
    shop.clock.advance(-2 * 86_400)
    before = await days(shop)

    await keep(shop)

    assert await days(shop) == before


async def test_rows_of_a_day_that_is_gone_are_turned_away_and_count_nothing_twice(shop: Rig, folder: Path) -> None:
    await keep(shop)
    before = await made(shop)
    late = YOUNG.opened()

    await load(shop, folder, "again.csv", [*OLD_ROWS, Mail("T9").received(), late])

    file = await shop.one("SELECT rows, rejects, fresh, state FROM ingest_files WHERE path LIKE '%again.csv'")
    assert file == {"rows": 7, "rejects": 6, "fresh": 1, "state": "done"}
    rejects = await shop.rows("SELECT line, reason, raw FROM ingest_rejects ORDER BY line")
    assert rejects == [{"line": line, "reason": "older than events are kept", "raw": ""} for line in range(2, 8)]
    assert late.event_id in await shop.event_ids()
    assert (await shop.send("T3"))["human_opens"] == 1
    after = await made(shop)
    assert [row for row in after[0] if row["transmission_id"] != "T3"] == [
        row for row in before[0] if row["transmission_id"] != "T3"
    ]
    assert after[1] == before[1]
    assert await tables(shop, "events_20261123") == []


async def test_a_late_open_of_an_old_email_is_added_to_what_was_counted(shop: Rig, folder: Path) -> None:
    await keep(shop)
    before = await shop.send("T1")

    await load(shop, folder, "late.csv", [OLD.opened(after=50 * DAY), OLD.opened(machine_open=True, after=50 * DAY)])

    opens = {"human_opens": before["human_opens"] + 1, "machine_opens": before["machine_opens"] + 1}
    assert await shop.send("T1") == before | opens


@pytest.mark.parametrize(
    "changes",
    [{"metric": "Bounced Email"}, {"properties": Mail("T1", message_id="MSG2").received().properties}],
    ids=["bounced", "of another message"],
)
async def test_an_old_email_is_not_computed_from_what_is_left_of_its_events(
    shop: Rig, folder: Path, changes: dict[str, Any]
) -> None:
    await keep(shop)
    before = await made(shop)
    told = again(OLD.received(), event_id="LATE", at=SENT + 5 * DAY, **changes)

    await load(shop, folder, "late.csv", [told])

    assert await made(shop) == before


async def test_the_email_of_the_day_before_may_have_lost_events_too(shop: Rig, folder: Path) -> None:
    """An open may be said to lie before its email, by a clock that is wrong."""
    await keep(shop)
    before = await shop.send("T2")
    assert before["human_opens"] == 2

    await load(shop, folder, "late.csv", [again(EDGE.received(), event_id="TWICE", at=SENT + 3 * DAY)])

    assert await shop.send("T2") == before


async def test_a_file_that_is_replaced_takes_back_only_what_is_kept(shop: Rig, folder: Path) -> None:
    await keep(shop)
    before = await made(shop)

    await load(shop, folder, "first.csv", [OLD_ROWS[0], EDGE.received(), order(3, 31 * DAY, 70, person="P3")])

    assert await shop.rows("SELECT transmission_id FROM sends ORDER BY 1") == [
        {"transmission_id": "T1"}, {"transmission_id": "T2"},
    ]  # fmt: skip
    assert await shop.send("T1") == next(row for row in before[0] if row["transmission_id"] == "T1")
    of_old = [row for row in before[1] if row["order_event_id"] == "ORDER1"]
    assert len(of_old) == 2
    assert await shop.rows("SELECT * FROM conversions t ORDER BY t::text") == of_old


async def test_an_old_email_stays_when_a_late_open_of_it_is_taken_back(shop: Rig, folder: Path) -> None:
    await keep(shop)
    await load(shop, folder, "late.csv", [OLD.opened(after=50 * DAY), YOUNG.opened()])
    before = await shop.send("T1")

    shop.clock.advance(60)
    await load(shop, folder, "late.csv", [YOUNG.clicked(), YOUNG.opened()])

    assert await shop.send("T1") == before


async def test_orders_of_days_that_are_gone_stay_counted_when_a_template_counts_something_else(shop: Rig) -> None:
    await keep(shop)
    await shop.run("UPDATE templates SET conversions_stale = false")

    await counts(shop, metrics=["Started Checkout"])
    await recount_one(shop.database)

    left = await shop.rows("SELECT event_id, value FROM conversions ORDER BY 1")
    assert left == [{"event_id": "ORDER1", "value": 50}, {"event_id": "REFUND1-0", "value": -20}]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "TRIES", 2)
    monkeypatch.setattr(partitions, "TRY_EVERY_S", 0)


@pytest.mark.usefixtures("hurried")
async def test_a_day_stays_while_a_file_is_brought_in(shop: Rig) -> None:
    async with shop.database.connection() as connection, connection.transaction():
        await begin_switch(connection, shop.org_id)
        dropped = await Days(shop.database).drop([SENT.date()])
        there = await connection.fetchval("SELECT count(*) FROM events WHERE day = $1", SENT.date())

    assert not dropped
    assert there > len(OLD_ROWS)
    assert await Days(shop.database).drop([SENT.date()])


async def test_what_a_crash_left_is_deleted_with_the_next_day_that_goes(shop: Rig) -> None:
    await Days(shop.database).drop([date(2025, 12, 31), SENT.date()])
    left = await tables(shop, "dropped_events_%")

    shop.clock.advance(86_400)
    await keep(shop)

    assert sorted(one for one in left if one[-1].isdigit() or one.endswith("history")) == [
        "dropped_events_20261123", "dropped_events_history",
    ]  # fmt: skip
    assert await tables(shop, "dropped_events_%") == []


@pytest.mark.usefixtures("hurried")
async def test_a_table_that_is_never_free_keeps_its_day_and_nobody_waits(shop: Rig) -> None:
    async with shop.database.connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE events IN ACCESS SHARE MODE")
        rest = await keeper(shop).step()

    assert rest is None
    assert (await days(shop))[0] == SENT.date()
    assert (await shop.one("SELECT since FROM events_kept"))["since"] == date.min


async def test_who_else_said_an_event_is_forgotten_with_it(shop: Rig, folder: Path) -> None:
    await load(shop, folder, "other.csv", [replace(OLD_ROWS[0]), EDGE.received()])
    before = await shop.rows("SELECT day FROM event_repeats ORDER BY day")

    await keep(shop)

    assert [row["day"] for row in before] == [SENT.date()]
    assert await shop.rows("SELECT day FROM event_repeats") == []
