"""Conversions and money as what the ranker learns from."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.ranker.facts import NO_CLICK, Fact, bucket_of, edges_of, pack, unpack
from services.ranker.fit import next_snapshot
from services.ranker.store import Store, before_of
from shared.schemas.conversions import Conversions, stored
from tests.component.cli.rig import Cli, settings
from tests.component.ranker.rig import NOW, Shop, open_shop, running
from tests.support.waiting import eventually

AT = NOW - timedelta(days=10)
INSERT_ORDERS = """
    INSERT INTO conversions (org_id, template_id, event_id, order_event_id, transmission_id, at, value)
    SELECT org_id, template_id, transmission_id || $5, transmission_id || $5, transmission_id, sent_at + $3, $4
    FROM (SELECT *, row_number() OVER (ORDER BY transmission_id) AS n FROM sends WHERE copy_id = $1 AND cell = $6) s
    WHERE n <= $2
"""
INSERT_REFUNDS = """
    INSERT INTO conversions (org_id, template_id, event_id, order_event_id, transmission_id, at, value)
    SELECT org_id, template_id, 'R' || event_id, event_id, transmission_id, $2, -value FROM conversions
    WHERE transmission_id IN (SELECT transmission_id FROM sends WHERE copy_id = $1)
"""


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as opened:
        yield opened


async def rewarded(shop: Shop, window_h: int = 72, **policy: Any) -> None:
    counted = stored(Conversions(window_h=window_h))
    await shop.rows("UPDATE templates SET policy = $1, conversions = $2", policy, counted)


async def ordered(
    shop: Shop, variant: int, orders: int, value: float | None, *, cell: str = "plan=pro",
    after: timedelta = timedelta(hours=5), name: str = "O",
) -> None:  # fmt: skip
    """So many of the variant's sends have an order."""
    await shop.rows(INSERT_ORDERS, shop.copy_ids[variant], orders, after, value, name, cell)


async def facts_of(shop: Shop, now: datetime = NOW) -> list[Fact]:
    store = Store(shop.database)
    claim = await store.claim(now, now + timedelta(minutes=5))
    assert claim is not None
    task = await store.task(claim, now)
    made = next_snapshot(task)
    await store.settle(claim, task, made, now, now + timedelta(hours=1))
    return [Fact(*row) for row in sorted((f.copy_id, f.cell, f.age, f.delay, f.sends, f.worth) for f in task.facts)]


async def test_a_conversion_counts_once_a_send_with_its_own_delay_and_clicks_do_not(shop: Shop) -> None:
    await rewarded(shop, reward="conversion")
    await shop.sent(0, "plan=pro", 40, 40)
    await ordered(shop, 0, 10, None)
    await ordered(shop, 0, 5, 30, name="SECOND", after=timedelta(hours=9))

    facts = await facts_of(shop)

    edges = edges_of(72)
    age, delay = bucket_of(10 * 86_400, edges), bucket_of(5 * 3600, edges)
    assert facts == [
        Fact(shop.copy_ids[0], "plan=pro", age, NO_CLICK, 30), Fact(shop.copy_ids[0], "plan=pro", age, delay, 10),
    ]  # fmt: skip


async def test_the_window_of_conversions_is_where_they_are_defined(shop: Shop) -> None:
    await rewarded(shop, window_h=24, reward="conversion")
    await shop.sent(0, "plan=pro", 1, 0)

    await facts_of(shop)

    (snapshot,) = await shop.snapshots()
    assert snapshot["settings"]["policy"]["window_h"] == 24


async def test_money_is_a_fraction_of_its_cap_and_never_more_than_one(shop: Shop) -> None:
    await rewarded(shop, reward="revenue", revenue_cap=200)
    await shop.sent(0, "plan=pro", 20, 0)
    await ordered(shop, 0, 3, 50)
    await ordered(shop, 0, 2, 40, name="SECOND")
    await ordered(shop, 0, 1, 5000, name="THIRD")

    (_, converted) = await facts_of(shop)

    assert (converted.sends, converted.worth, converted.successes) == (3, 1000 + 450 + 250, 1.7)


async def test_a_refund_counts_from_its_moment_on(shop: Shop) -> None:
    await rewarded(shop, reward="conversion")
    await shop.sent(0, "plan=pro", 8, 0)
    await ordered(shop, 0, 8, 50)
    await shop.rows(INSERT_REFUNDS, shop.copy_ids[0], NOW - timedelta(hours=1))

    before, after = await facts_of(shop, NOW - timedelta(hours=2)), await facts_of(shop, NOW + timedelta(hours=2))

    assert [one.delay == NO_CLICK for one in (*before, *after)] == [False, True]


async def test_what_was_packed_before_there_was_a_worth_is_still_read_and_hashed_alike(shop: Shop) -> None:
    click, money = Fact(shop.copy_ids[0], "plan=pro", 3, 1, 7), Fact(shop.copy_ids[0], "plan=pro", 3, 1, 7, 650)

    assert unpack(pack([click, money])[0]) == (click, money)
    assert pack([Fact(UUID(int=1), "", 3, 1, 7)])[1] == (
        "b2dec7314e9bda1f31da55f9d4f620b1c6e1cd9e95085a0047ca61784154fe91"  # as the release before wrote it
    )


async def test_a_ranker_paid_by_money_prefers_the_variant_that_few_buy_for_much(shop: Shop) -> None:
    """The first is clicked and bought most, the last earns most."""
    await rewarded(shop, reward="revenue", revenue_cap=200)
    for variant, (clicks, orders, value) in enumerate([(300, 90, 20), (100, 40, 40), (20, 40, 180)]):
        await shop.sent(variant, "plan=pro", 1000, clicks)
        await ordered(shop, variant, orders, value)
    await shop.feedback()

    async with running(shop.database_url):

        async def learned() -> dict[str, tuple[float, ...]]:
            rows = await shop.snapshots()
            assert len(rows) == 1
            return dict(before_of(dict(rows[0])).cells)

        cells = await eventually(learned, within_s=15)

    assert cells["plan=pro"][2] > 0.9


async def test_a_snapshot_of_money_is_rebuilt_to_the_last_digit(shop: Shop) -> None:
    await rewarded(shop, reward="revenue", revenue_cap=200)
    for variant, value in enumerate([10, 77.77, 33.33]):
        await shop.sent(variant, "plan=pro", 500, 0)
        await ordered(shop, variant, 50, value)
    await facts_of(shop)

    cli = Cli(
        settings(shop.database_url, "amqp://127.0.0.1:1/")
        | {"JUSTAI_CLOCK": f"scaled:1:{time.time()}:{NOW.isoformat()}"}
    )
    said = await _in_thread(cli, "policy", "rebuild", "shop", "welcome")
    shown = await _in_thread(cli, "policy", "show", "shop", "welcome")

    assert "From its own facts: the same shares" in said
    assert "From today's events: the same facts." in said
    assert "from 1500 sends with 150 conversions" in shown


async def _in_thread(cli: Cli, *arguments: str) -> str:
    return await asyncio.to_thread(cli.ok, *arguments)


async def test_a_reward_without_conversions_says_what_is_missing(shop: Shop) -> None:
    await shop.rows("UPDATE templates SET policy = $1", {"reward": "conversion"})

    async with running(shop.database_url):

        async def told() -> None:
            rows = await shop.rows("SELECT error FROM policy_fits")
            assert "policy.reward: conversion needs `conversions" in str(rows)

        await eventually(told, within_s=15)
