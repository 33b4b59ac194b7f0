"""Orders and refunds find the send that they follow, whatever comes first, twice or corrected."""

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.ingest.attribution.recounter import recount_one
from shared.schemas.conversions import Conversions, stored
from tests.component.ingest.given import SENT, Mail, Row, again, flat_csv, nested_csv
from tests.component.ingest.recounting import recount_all
from tests.component.ingest.rig import Rig
from tests.component.ingest.test_counting import count_all, counts_of

COPY = UUID("00000000-0000-4000-8000-000000000001")
DAY = timedelta(days=1)
ALL = "SELECT * FROM conversions ORDER BY template_id, event_id"
ROLLUPS = "SELECT * FROM rollups ORDER BY template_id, copy_id, cell, day"


async def load(rig: Rig, folder: Path, *rows: Row) -> None:
    """A file of its own, newer than those before."""
    name = f"{uuid4().hex}.csv"
    (folder / name).write_bytes(nested_csv(rows))
    await rig.settle()
    assert rig.outcomes[-1:] == [None]
    assert (await rig.files())[name] == "done"


async def counts(rig: Rig, template_id: str = "welcome", **defined: Any) -> None:
    """The template counts conversions, so defined."""
    await rig.run(
        "INSERT INTO templates (org_id, template_id, name, conversions, control_action_id, created_at, updated_at)"
        " VALUES ($1, $2, $2, $3, 'CTRL', $4, $4)"
        " ON CONFLICT (org_id, template_id) DO UPDATE SET conversions = excluded.conversions",
        rig.org_id, template_id, stored(Conversions(**defined)), SENT,
    )  # fmt: skip


def order(number: int, after: timedelta, value: float | None = 50, *, person: str = "P1", **said: Any) -> Row:
    properties = {"OrderId": f"#{number}"} | ({} if value is None else {"$value": value}) | said
    return Row(f"ORDER{number}", "Placed Order", person, SENT + after, properties)


def refund(number: int, after: timedelta, value: float | None = None, *, person: str = "P1", **said: Any) -> Row:
    properties = {"OrderId": f"#{number}"} | ({} if value is None else {"$value": value}) | said
    return Row(f"REFUND{number}-{after.days}", "Refunded Order", person, SENT + after, properties)


async def earned(rig: Rig) -> dict[str, tuple[bool, float]]:
    """By transmission: whether it has converted, and what it came to."""
    rows = await rig.rows(
        "SELECT s.transmission_id, e.converted_at IS NOT NULL AS converted, e.revenue FROM sends s"
        " CROSS JOIN LATERAL earned(s.org_id, 'welcome', s.transmission_id, 'infinity') e ORDER BY 1"
    )
    return {row["transmission_id"]: (row["converted"], float(row["revenue"])) for row in rows}


@pytest.fixture
async def shop(rig: Rig) -> Rig:
    """Two generations of one person, a day apart; the template counts Placed Order within 72 hours."""
    await counts(rig)
    for days in (0, 1):
        await rig.add_generation(copy_id=COPY, cell="gold", accepted_at=SENT + days * DAY - timedelta(minutes=2))
    rig.clock.advance(10 * 86_400)
    return rig


FIRST, SECOND = Mail("T1"), Mail("T2", sent_at=SENT + DAY)


@pytest.mark.parametrize("value", [1.5e200, -1e300, 1e15])
async def test_a_value_beyond_all_money_is_none_and_spoils_no_results(shop: Rig, folder: Path, value: float) -> None:
    await shop.run("UPDATE templates SET state = 'active'")
    await load(shop, folder, FIRST.received(), order(1, DAY / 2, value), order(2, DAY / 2, 999_999_999_999_999))

    await count_all(shop)

    assert await earned(shop) == {"T1": (True, 999_999_999_999_999.0)}
    assert await counts_of(shop).report(shop.clock.now()) is True
    assert await shop.rows("SELECT error FROM result_reports") == [{"error": None}]


async def test_an_order_belongs_to_the_newest_delivered_send_within_the_window(shop: Rig, folder: Path) -> None:
    await load(
        shop, folder, FIRST.received(), SECOND.received(),
        order(1, timedelta(hours=23)), order(2, timedelta(hours=25), 20.5), order(3, 4 * DAY, 7),
        order(4, 4 * DAY + timedelta(seconds=1)), order(5, timedelta(seconds=-1)), order(6, DAY, person="P2"),
    )  # fmt: skip

    assert await earned(shop) == {"T1": (True, 50.0), "T2": (True, 27.5)}
    row = (await shop.rows(ALL))[1]
    assert (row["at"], row["value"], row["order_event_id"]) == (SENT + timedelta(hours=25), Decimal("20.5"), "ORDER2")
    rollups = await shop.rows("SELECT sends, conversions, revenue FROM rollups ORDER BY day")
    assert rollups == [
        {"sends": 1, "conversions": 1, "revenue": 50},
        {"sends": 1, "conversions": 1, "revenue": Decimal("27.5")},
    ]


async def test_an_order_whose_transmission_is_an_unloaded_null_is_of_no_email(shop: Rig, folder: Path) -> None:
    (folder / "flat.csv").write_bytes(flat_csv([FIRST.received(), order(1, timedelta(hours=23))], "\\N"))
    await shop.settle()

    assert await shop.rows("SELECT event_id FROM conversions") == [{"event_id": "ORDER1"}]
    assert await shop.rows("SELECT transmission_id FROM sends") == [{"transmission_id": "T1"}]


async def test_a_bounced_send_converts_nobody(shop: Rig, folder: Path) -> None:
    await load(shop, folder, FIRST.received(), SECOND.happened("Bounced Email"), order(1, DAY + timedelta(hours=1)))

    assert await earned(shop) == {"T1": (True, 50.0), "T2": (False, 0.0)}


async def test_an_order_that_comes_twice_in_any_file_counts_once(shop: Rig, folder: Path) -> None:
    bought = order(1, timedelta(hours=1))

    await load(shop, folder, FIRST.received(), bought, bought)
    await load(shop, folder, bought)

    assert await earned(shop) == {"T1": (True, 50.0)}


async def test_an_order_waits_for_its_send(shop: Rig, folder: Path) -> None:
    await load(shop, folder, order(1, timedelta(hours=25)))
    assert await shop.rows(ALL) == []
    await load(shop, folder, FIRST.received())
    assert await earned(shop) == {"T1": (True, 50.0)}

    await load(shop, folder, SECOND.received())  # nearer, and later in coming

    assert await earned(shop) == {"T1": (False, 0.0), "T2": (True, 50.0)}
    assert await shop.rows("SELECT conversions, revenue FROM rollups ORDER BY day") == [
        {"conversions": 0, "revenue": 0},
        {"conversions": 1, "revenue": 50},
    ]


@pytest.mark.parametrize(
    ("refunds", "left"),
    [([refund(1, DAY, 20)], (True, 30.0)), ([refund(1, DAY, 20), refund(1, 2 * DAY, -30)], (False, 0.0)),
     ([refund(1, DAY)], (False, 0.0)), ([refund(2, DAY)], (True, 50.0)), ([refund(1, 91 * DAY)], (True, 50.0)),
     ([refund(1, 90 * DAY)], (False, 0.0)), ([refund(1, DAY, person="P2")], (True, 50.0))],
)  # fmt: skip
async def test_a_refund_takes_its_value_off_its_order(
    shop: Rig, folder: Path, refunds: Sequence[Row], left: tuple[bool, float]
) -> None:
    shop.clock.advance(100 * 86_400)
    await load(shop, folder, FIRST.received(), order(1, timedelta(hours=1)))

    await load(shop, folder, *refunds)

    assert await earned(shop) == {"T1": left}
    assert (await shop.one("SELECT revenue FROM rollups"))["revenue"] == left[1]


async def test_a_moment_before_the_refund_still_sees_the_order(shop: Rig, folder: Path) -> None:
    await load(shop, folder, FIRST.received(), order(1, timedelta(hours=1)), refund(1, 2 * DAY))

    then = await shop.one(
        "SELECT * FROM earned($1, 'welcome', 'T1', $2)", shop.org_id, SENT + DAY
    )  # fmt: skip
    assert then == {"converted_at": SENT + timedelta(hours=1), "revenue": 50}


async def test_the_newest_file_says_what_an_order_is_worth_whichever_is_read_last(shop: Rig, folder: Path) -> None:
    await load(shop, folder, FIRST.received(), order(1, timedelta(hours=1), 50))
    await load(shop, folder, order(1, timedelta(hours=1), 35))
    assert await earned(shop) == {"T1": (True, 35.0)}

    late = folder / "late.csv"
    late.write_bytes(nested_csv([order(1, timedelta(hours=1), 99)]))
    os.utime(late, (1_500_000_000, 1_500_000_000))
    await shop.settle()
    assert (await shop.files())["late.csv"] == "done"

    assert await earned(shop) == {"T1": (True, 35.0)}


async def test_only_what_was_touched_is_computed_anew(shop: Rig, folder: Path) -> None:
    await shop.add_generation("P2", copy_id=COPY)
    await load(
        shop, folder, FIRST.received(), Mail("T9", "P2").received(), order(1, timedelta(hours=1)),
        order(2, timedelta(hours=1), person="P2"),
    )  # fmt: skip
    before = await shop.rows("SELECT event_id, ctid::text FROM conversions ORDER BY 1")

    await load(shop, folder, FIRST.opened(), refund(1, DAY, 10))

    after = await shop.rows("SELECT event_id, ctid::text FROM conversions WHERE event_id LIKE 'ORDER%' ORDER BY 1")
    assert after[0] != before[0]
    assert after[1] == before[1]


async def test_another_currency_is_a_conversion_without_value(shop: Rig, folder: Path) -> None:
    await counts(shop, currency="eur")

    await load(
        shop, folder, FIRST.received(), order(1, timedelta(hours=1), 10, **{"$currency_code": "USD"}),
        order(2, timedelta(hours=2), 20, **{"$currency_code": "EUR"}), order(3, timedelta(hours=3), 5),
    )  # fmt: skip

    assert await earned(shop) == {"T1": (True, 25.0)}
    assert [row["currency"] for row in await shop.rows(ALL)] == ["USD", "EUR", None]


EUR, USD = {"$currency_code": "EUR"}, {"$currency_code": "USD"}


@pytest.mark.parametrize(
    ("ordered", "refunds", "left"),
    [
        ((100, USD), [(-10, USD)], (True, 0.0)), ((100, USD), [(-100, USD)], (False, 0.0)),
        ((100, USD), [(100, EUR)], (True, 0.0)), ((100, USD), [(100, {})], (True, 0.0)),
        ((100, USD), [(None, {})], (False, 0.0)),
        ((None, {}), [(-10, {})], (True, 0.0)), ((None, EUR), [(-10, EUR)], (True, 0.0)),
        ((None, {}), [(None, {})], (False, 0.0)),
        ((100, EUR), [(110, USD)], (True, 100.0)), ((100, EUR), [(110, USD), (30, EUR)], (True, 70.0)),
        ((100, EUR), [(None, USD)], (False, 0.0)), ((100, {}), [(30, EUR)], (True, 70.0)),
    ],
)  # fmt: skip
async def test_only_a_refund_that_can_be_weighed_against_its_order_takes_it_back(
    shop: Rig,
    folder: Path,
    ordered: tuple[float | None, dict[str, str]],
    refunds: Sequence[tuple[float | None, dict[str, str]]],
    left: tuple[bool, float],
) -> None:
    await counts(shop, currency="EUR")
    value, said = ordered
    await load(shop, folder, FIRST.received(), order(1, timedelta(hours=1), value, **said))

    for days, (back, named) in enumerate(refunds, 1):
        await load(shop, folder, refund(1, days * DAY, back, **named))

    assert await earned(shop) == {"T1": left}


async def test_each_template_has_its_own_last_touch_and_its_own_metrics(shop: Rig, folder: Path) -> None:
    await counts(shop, "reminder", metrics=["Placed Order", "Started Trial"], window_h=1)
    await shop.add_generation(copy_id=COPY, written_for="reminder.FLOW2.ACT2")
    trial = Row("TRIAL", "started trial", "P1", SENT + timedelta(minutes=30))

    await load(
        shop, folder, FIRST.received(), Mail("R1", message_id="MSG2", flow_id="FLOW2").received(), trial,
        order(1, timedelta(minutes=59)), order(2, timedelta(minutes=61)),
    )  # fmt: skip

    found = [(row["template_id"], row["event_id"], row["transmission_id"]) for row in await shop.rows(ALL)]
    assert found == [
        ("reminder", "ORDER1", "R1"), ("reminder", "TRIAL", "R1"), ("welcome", "ORDER1", "T1"),
        ("welcome", "ORDER2", "T1"),
    ]  # fmt: skip


async def test_orders_of_klaviyos_own_control_branch_are_counted_for_its_template(shop: Rig, folder: Path) -> None:
    await shop.add_flow_message("CTRL", "CTRL_MSG")

    await load(shop, folder, Mail("C1", "P7", message_id="CTRL_MSG").received(), order(1, DAY, person="P7"))

    assert [(row["template_id"], row["transmission_id"]) for row in await shop.rows(ALL)] == [("welcome", "C1")]


async def test_a_template_that_counts_something_else_is_counted_anew(shop: Rig, folder: Path) -> None:
    await load(
        shop, folder, FIRST.received(), order(1, timedelta(hours=1)), order(2, timedelta(hours=30)),
        Row("TRIAL", "Started Trial", "P1", SENT + timedelta(minutes=30)),
    )  # fmt: skip
    while await recount_one(shop.database) is not None:
        pass
    revision = await shop.one("SELECT revision FROM policy_feedback")

    await counts(shop, metrics=["Started Trial", "Placed Order"], window_h=24)
    assert await recount_one(shop.database) == shop.org_id

    assert [row["event_id"] for row in await shop.rows(ALL)] == ["ORDER1", "TRIAL"]
    assert (await shop.one("SELECT conversions FROM rollups"))["conversions"] == 1
    assert await recount_one(shop.database) is None
    assert (await shop.one("SELECT revision FROM policy_feedback"))["revision"] > revision["revision"]
    await shop.run("UPDATE templates SET conversions = NULL")
    await recount_one(shop.database)
    assert await shop.rows(ALL) == []
    assert (await shop.one("SELECT conversions FROM rollups"))["conversions"] == 0


async def test_files_in_any_order_give_what_one_file_gives_and_what_rebuilding_gives(shop: Rig, folder: Path) -> None:
    rows = [
        FIRST.received(), SECOND.received(), order(1, timedelta(hours=25)), order(2, timedelta(hours=2), 12),
        refund(1, 2 * DAY, 20), replace(order(1, timedelta(hours=3), 8), event_id="TOLD_AGAIN"),
    ]  # fmt: skip
    await load(shop, folder, *rows)
    wanted, rollups = await shop.rows(ALL), await shop.rows(ROLLUPS)
    assert len(wanted) == 4
    await recount_all(shop.database, shop.org_id)
    assert (await shop.rows(ALL), await shop.rows(ROLLUPS)) == (wanted, rollups)
    orders = list(permutations(rows))
    for shuffled in random.Random(3).sample(orders, 4):
        for table in ("events", "sends", "rollups", "conversions", "ingest_files"):
            await shop.run(f"DELETE FROM {table}")

        for row in shuffled:
            await load(shop, folder, again(row))

        assert await shop.rows(ALL) == wanted
        assert await shop.rows(ROLLUPS) == rollups
