"""Versions of a variant, on a real database: whose facts its sends are before and after it is rewritten."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from services.ranker.fit import Task, next_snapshot
from services.ranker.store import Store
from tests.component.ranker.rig import NOW, Shop, open_shop

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WELCOME = (
    "<p>Your first order leaves our roastery on the same day. Pick two bags of whole beans or ground coffee, and we "
    "add a small tin of our house blend, so that you can taste all three of them beside each other at home.</p>"
)
MENDED = WELCOME.replace("roastery", "roasterie")
REWRITTEN = "<p>Only today: everything for half the price.</p>"

INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, $3, 'Hello', 'News', $4, $5)
"""
INSERT_EVENT = """
    INSERT INTO variant_events (org_id, copy_id, version, event, actor, created_at) VALUES ($1, $2, $3, $4, 'Ann', $5)
"""
UPDATE_VERSION = "UPDATE variants SET version = $2 WHERE copy_id = $1"
INSERT_GENERATIONS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, copy_id, variant_version, property_prefix, written_for, propensity)
    SELECT $4::date, gen_random_uuid(), org_id, 'welcome', profile_id, transmission_id, $4, $4, $4, 'treatment',
        'explore', copy_id, $3, 'jai', 'w.f.a', 0.5
    FROM sends WHERE org_id = $1 AND copy_id = $2
"""
DECIDE_SENDS = """
    UPDATE sends s SET generation_id = g.generation_id, generation_day = g.day
    FROM generations g WHERE g.org_id = $1 AND g.tracking_id = s.transmission_id AND s.org_id = $1
"""


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as opened:
        await served(opened, 1, WELCOME, NOW - 30 * DAY)
        yield opened


async def served(shop: Shop, version: int, body: str, at: datetime) -> None:
    """The first variant is rewritten, and approved so."""
    await shop.rows(INSERT_VERSION, shop.org_id, shop.copy_ids[0], version, body, at)
    await moved(shop, version, "approved", at)


async def moved(shop: Shop, version: int, event: str, at: datetime) -> None:
    await shop.rows(INSERT_EVENT, shop.org_id, shop.copy_ids[0], version, event, at)
    await shop.rows(UPDATE_VERSION, shop.copy_ids[0], version)


async def fitted(shop: Shop, now: datetime = NOW) -> Task:
    """What a fit would see then; the fit itself is given up."""
    store = Store(shop.database)
    claim = await store.claim(now, now + 5 * HOUR)
    assert claim is not None
    task = await store.task(claim, now)
    await store.failed(claim, "given up", now - HOUR)
    return task


def sends_of(task: Task, copy_id: UUID) -> int:
    return sum(one.sends for one in task.facts if one.copy_id == copy_id)


async def test_a_rewritten_variant_gets_the_share_of_burn_in_and_not_the_floor(shop: Shop) -> None:
    for variant, clicks in enumerate((50, 200, 200)):
        await shop.sent(variant, "plan=pro", 5_000, clicks)
    starved = next_snapshot(await fitted(shop)).otherwise[0]

    await served(shop, 2, REWRITTEN, NOW - HOUR)
    task = await fitted(shop)

    assert starved < 0.01
    assert next_snapshot(task).otherwise[0] == pytest.approx(1 / 3, abs=1e-5)
    (old,) = [one for one in task.variants if not one.eligible]
    assert (old.name, sends_of(task, old.copy_id), sends_of(task, shop.copy_ids[0])) == ("v0, version 1", 5_000, 0)


async def test_a_correction_keeps_what_was_learned(shop: Shop) -> None:
    await shop.sent(0, "plan=pro", 500, 20)
    await served(shop, 2, MENDED, NOW - HOUR)

    task = await fitted(shop)

    assert sends_of(task, shop.copy_ids[0]) == 500
    assert len(task.variants) == 3


async def test_a_version_that_is_rolled_back_to_has_its_own_facts_again(shop: Shop) -> None:
    await shop.sent(0, "plan=pro", 500, 20)
    await served(shop, 2, REWRITTEN, NOW - 5 * DAY)
    await shop.sent(0, "plan=pro", 70, 7, at=NOW - 4 * DAY)
    assert sends_of(await fitted(shop), shop.copy_ids[0]) == 70

    await moved(shop, 1, "rolled_back", NOW - HOUR)
    task = await fitted(shop)

    assert sends_of(task, shop.copy_ids[0]) == 500
    assert [sends_of(task, one.copy_id) for one in task.variants if not one.eligible] == [70]


async def test_what_was_decided_for_the_old_text_and_sent_after_the_new_one_is_the_old_one_s(shop: Shop) -> None:
    """Flows wait, some for days; of a generation that is dropped only the moment of its email is known."""
    approved = NOW - 5 * DAY
    await served(shop, 2, REWRITTEN, approved)
    await shop.sent(0, "plan=pro", 300, 9, at=approved + 2 * DAY)
    before = sends_of(await fitted(shop), shop.copy_ids[0])

    decided = approved - DAY
    await shop.rows("SELECT ensure_partition('generations', $1)", decided.date())
    await shop.rows(INSERT_GENERATIONS, shop.org_id, shop.copy_ids[0], 1, decided)
    await shop.rows(DECIDE_SENDS, shop.org_id)

    assert (before, sends_of(await fitted(shop), shop.copy_ids[0])) == (300, 0)


async def test_a_moment_in_the_past_knows_the_text_that_was_served_then(shop: Shop) -> None:
    await shop.sent(0, "plan=pro", 500, 20)
    await served(shop, 2, REWRITTEN, NOW - HOUR)

    assert sends_of(await fitted(shop, NOW - 2 * HOUR), shop.copy_ids[0]) == 500
    assert sends_of(await fitted(shop), shop.copy_ids[0]) == 0
