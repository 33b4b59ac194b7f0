"""Klaviyo's own control branch: what is known of its emails late is counted as if it had been known at once."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from services.ingest.attribution.recounter import recount_one
from shared.admin.results import store
from tests.component.ingest.given import SENT, Mail
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_conversions import ALL, counts, load, order
from tests.component.ingest.test_counting import count_all, counts_of

COPY = UUID("00000000-0000-4000-8000-000000000001")
DAY = timedelta(days=1)
DAYS = 4
COUNTED = """
    SELECT day, control, sum(assigned)::int AS assigned, sum(delivered)::int AS delivered
    FROM result_counts WHERE attr = '' GROUP BY day, control
"""
WAITING = "SELECT day FROM result_days WHERE counted < revision ORDER BY day"

Counts = dict[tuple[date, bool], tuple[int, int]]


@pytest.fixture
async def shop(rig: Rig, folder: Path) -> Rig:
    """Some days of treatment and of a control branch that sends two messages, counted when no step is control's."""
    await counts(rig)
    await rig.run("UPDATE templates SET control_action_id = NULL")
    rig.clock.advance(20 * 86_400)
    mails = []
    for number in range(DAYS):
        at = SENT + number * DAY
        await rig.add_generation(copy_id=COPY, accepted_at=at - timedelta(minutes=2))
        mails.append(Mail(f"T{number}", sent_at=at))
        mails += [Mail(f"C{number}{of}", f"P{number}{of}", f"CTRL{of}", sent_at=at) for of in (1, 2)]
    await load(rig, folder, *(mail.received() for mail in mails))
    await follow(rig)
    return rig


async def follow(rig: Rig) -> None:
    """What ingest does until there is nothing to do."""
    while await recount_one(rig.database) is not None:
        pass
    rig.clock.advance(60)
    await count_all(rig)
    while await counts_of(rig).report(rig.clock.now()):
        pass


async def counted(rig: Rig) -> Counts:
    rows = await rig.rows(COUNTED)
    return {(row["day"], row["control"]): (row["assigned"], row["delivered"]) for row in rows}


async def in_the_log(rig: Rig) -> Counts:
    """As `justai results` reads it."""
    asked = store.Asked(rig.org_id, "welcome", SENT - DAY, rig.clock.now(), ZoneInfo("UTC"))
    facts = (await store.read(rig.database, asked)).facts
    return {(fact.day, fact.control): (fact.assigned, fact.delivered) for fact in facts}


async def known(rig: Rig, *messages: str) -> None:
    """As flows are read: the step of control sends these."""
    await rig.run("DELETE FROM flow_messages")
    for message in messages:
        await rig.add_flow_message("CTRL", message)


async def choose(rig: Rig, action_id: str | None) -> None:
    await rig.run("UPDATE templates SET control_action_id = $1", action_id)


def each_day(control: int) -> Counts:
    days = [(SENT + number * DAY).date() for number in range(DAYS)]
    of_control: Counts = {(day, True): (0, control) for day in days if control}
    return of_control | {(day, False): (1, 1) for day in days}


async def test_a_control_step_that_is_chosen_late_counts_on_all_days_before(shop: Rig) -> None:
    await known(shop, "CTRL1")
    assert await counted(shop) == each_day(control=0)

    await choose(shop, "CTRL")
    await follow(shop)

    assert await counted(shop) == each_day(control=1) == await in_the_log(shop)
    await choose(shop, None)
    await follow(shop)
    assert await counted(shop) == each_day(control=0) == await in_the_log(shop)


async def test_a_flow_that_is_read_late_counts_on_all_days_before(shop: Rig) -> None:
    await choose(shop, "CTRL")
    await follow(shop)
    assert await counted(shop) == each_day(control=0)

    await known(shop, "CTRL1")
    await follow(shop)

    assert await counted(shop) == each_day(control=1) == await in_the_log(shop)


async def test_a_second_message_that_is_read_late_brings_its_orders_too(shop: Rig, folder: Path) -> None:
    await choose(shop, "CTRL")
    await known(shop, "CTRL1")
    await load(shop, folder, order(1, DAY / 2, person="P01"), order(2, DAY / 2, person="P02"))
    await follow(shop)
    assert [row["transmission_id"] for row in await shop.rows(ALL)] == ["C01"]

    await known(shop, "CTRL1", "CTRL2")
    assert await recount_one(shop.database) == shop.org_id
    await follow(shop)

    assert [row["transmission_id"] for row in await shop.rows(ALL)] == ["C01", "C02"]
    assert await counted(shop) == each_day(control=2) == await in_the_log(shop)


async def test_flows_that_are_read_again_and_say_the_same_have_nothing_counted(shop: Rig) -> None:
    await choose(shop, "CTRL")
    await known(shop, "CTRL1")
    await follow(shop)

    await known(shop, "CTRL1")

    assert await recount_one(shop.database) is None
    assert await shop.rows(WAITING) == []


async def test_a_file_with_an_order_of_controls_alone_has_the_report_made_anew(shop: Rig, folder: Path) -> None:
    await choose(shop, "CTRL")
    await known(shop, "CTRL1")
    await follow(shop)

    await load(shop, folder, order(1, DAY / 2, person="P01"))

    due = await shop.rows("SELECT template_id FROM result_reports WHERE reported < revision")
    assert due == [{"template_id": "welcome"}]
    shop.clock.advance(901)
    assert await counts_of(shop).report(shop.clock.now()) is True
    report: Any = (await shop.one("SELECT report FROM result_reports"))["report"]
    assert report["conversions"]["control"]["conversions"] == 1
