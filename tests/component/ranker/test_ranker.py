"""Facts in, snapshots out, on a real database; and the generator serves what was made."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import asyncpg
import pytest

from services.ranker.fit import Task, next_snapshot
from services.ranker.store import Store, before_of, policy_of, settings_of
from tests.component.ranker.rig import NOW, Shop, open_shop, running
from tests.support.waiting import eventually

LEASE = timedelta(minutes=5)
SELECT_FIT = "SELECT * FROM policy_fits WHERE org_id = $1"


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url) as opened:
        yield opened


async def snapshots(shop: Shop, number: int) -> list[asyncpg.Record]:
    async def made() -> list[asyncpg.Record]:
        rows = await shop.snapshots()
        assert len(rows) == number, [(row["model"], row["otherwise"]) for row in rows]
        return rows

    return await eventually(made, within_s=15)


async def fits(shop: Shop, error: str | None = None) -> asyncpg.Record:
    async def settled() -> asyncpg.Record:
        rows = await shop.rows(SELECT_FIT, shop.org_id)
        assert len(rows) == 1  # none before the ranker has looked
        (row,) = rows
        assert (row["error"] or "").startswith(error or "")
        assert error is not None or row["lease_until"] is None
        return row

    return await eventually(settled, within_s=15)


async def fitted(shop: Shop, now: datetime = NOW) -> Task:
    """What a fit would see now; the fit itself is given up."""
    store = Store(shop.database)
    claim = await store.claim(now, now + LEASE)
    assert claim is not None
    task = await store.task(claim, now)
    await store.failed(claim, "given up", now - timedelta(seconds=1))
    return task


async def young(shop: Shop) -> object:
    """How many variants a fit would take for too young to have less than an equal share."""
    return next_snapshot(await fitted(shop)).diagnostics["young"]


async def test_feedback_becomes_a_snapshot_by_itself(shop: Shop) -> None:
    async with running(shop.database_url):
        (first,) = await snapshots(shop, 1)
        await shop.tastes()
        _, learned = await snapshots(shop, 2)

    shares = before_of(dict(learned))
    assert first["otherwise"] == pytest.approx({str(copy_id): 1 / 3 for copy_id in shop.copy_ids}, abs=1e-5)
    assert shares.cells["plan=free"][0] > 0.5
    assert shares.cells["plan=pro"][2] > 0.5
    assert learned["previous_id"] == first["snapshot_id"]
    assert learned["settings"]["policy"]["model"] == "logistic"
    assert learned["diagnostics"]["sends"] == 3600


async def test_two_replicas_fit_a_template_once_for_each_change(shop: Shop) -> None:
    await shop.tastes()

    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(running(shop.database_url))
        await snapshots(shop, 1)
        await shop.sent(0, "plan=pro", 50, 40)
        await shop.feedback()
        await snapshots(shop, 2)

    (fit,) = await shop.rows(SELECT_FIT, shop.org_id)
    assert fit["epoch"] == 2


async def test_a_ranker_that_lost_its_claim_stores_nothing(shop: Shop) -> None:
    store = Store(shop.database)
    slow = await store.claim(NOW, NOW + LEASE)
    assert slow is not None
    task = await store.task(slow, NOW)

    assert await store.claim(NOW, NOW + LEASE) is None
    later = NOW + LEASE + timedelta(seconds=1)
    fast = await store.claim(later, later + LEASE)

    assert fast is not None
    assert fast.epoch == slow.epoch + 1
    assert await store.settle(slow, task, next_snapshot(task), later, later + LEASE) is None
    assert await shop.snapshots() == []
    assert await store.settle(fast, task, next_snapshot(task), later, later + LEASE) is True


async def test_a_change_during_a_fit_is_not_missed(shop: Shop) -> None:
    store = Store(shop.database)
    claim = await store.claim(NOW, NOW + LEASE)
    assert claim is not None
    task = await store.task(claim, NOW)
    await shop.feedback()
    await store.settle(claim, task, next_snapshot(task), NOW, NOW + timedelta(hours=1))

    assert await store.claim(NOW, NOW + LEASE) is not None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE templates SET policy = '{\"floor\": 0.05}' WHERE org_id = $1",
        "UPDATE variants SET theme = 'humour' WHERE org_id = $1 AND name = 'v0'",
        "UPDATE variants SET state = 'archived' WHERE org_id = $1 AND name = 'v0'",
        "UPDATE variants SET version = 2 WHERE org_id = $1 AND name = 'v0'",
    ],
)
async def test_a_changed_policy_or_variant_is_due(shop: Shop, change: str) -> None:
    store = Store(shop.database)
    claim = await store.claim(NOW, NOW + LEASE)
    assert claim is not None
    task = await store.task(claim, NOW)
    await store.settle(claim, task, next_snapshot(task), NOW, NOW + timedelta(hours=1))
    assert await store.claim(NOW, NOW + LEASE) is None

    await shop.rows(change, shop.org_id)

    assert await store.claim(NOW, NOW + LEASE) is not None


async def test_without_a_change_a_template_is_fitted_after_a_while_and_stored_only_if_shares_moved(shop: Shop) -> None:
    await shop.tastes()

    async with running(shop.database_url, refit_s=0.2):
        await shop.looked_at(4)

    # The facts are ten days old: a second more changes neither their buckets nor the shares.
    assert len(await shop.snapshots()) == 1


async def test_control_bounces_and_late_clicks_do_not_count(shop: Shop) -> None:
    await shop.sent(None, "plan=pro", 30, 30)
    await shop.sent(0, "plan=pro", 40, 40, delivered=False)
    await shop.sent(1, "plan=pro", 50, 5)
    await shop.rows(
        "UPDATE sends SET first_click_at = sent_at + interval '73 hours' WHERE copy_id = $1 AND human_clicks > 0",
        shop.copy_ids[1],
    )

    facts = (await fitted(shop)).facts

    assert [(one.copy_id, one.sends, one.delay) for one in facts] == [(shop.copy_ids[1], 50, -1)]


async def test_what_somebody_forced_to_look_at_it_teaches_nothing(shop: Shop) -> None:
    await shop.sent(0, "plan=pro", 2, 2)
    generation_id = shop.copy_ids[2]
    await shop.rows("SELECT ensure_partition('generations', $1)", NOW.date())
    await shop.rows(
        """
        INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at,
            deadline_at, clean_at, decision, reason, copy_id, property_prefix, written_for)
        VALUES ($1, $2, $3, 'welcome', 'P1', 'P1.F.1', $4, $4, $4, 'treatment', 'forced', $5, 'jai', 'welcome')
        """,
        NOW.date(), generation_id, shop.org_id, NOW, shop.copy_ids[0],
    )  # fmt: skip
    await shop.rows(
        "UPDATE sends SET generation_id = $1, generation_day = $2 WHERE org_id = $3 AND profile_id = 'P1'",
        generation_id, NOW.date(), shop.org_id,
    )  # fmt: skip

    assert [one.sends for one in (await fitted(shop)).facts] == [1]


async def test_a_draw_that_could_not_be_rendered_is_one_of_its_variants(shop: Shop) -> None:
    """So a variant that is never rendered grows up, and is worth what its people do with the control content."""
    for variant in (0, 1):
        await shop.sent(variant, "plan=pro", 200, 20)
    await shop.sent(None, "plan=pro", 150, 3)  # by the split, and drawn for nobody
    assert (await young(shop)) == 1

    await shop.unrendered(2, "plan=pro", 150, 3)

    task = await fitted(shop)
    drawn = [one for one in task.facts if one.copy_id == shop.copy_ids[2]]
    assert (sum(one.sends for one in drawn), sum(one.successes for one in drawn)) == (150, 3)
    assert (await young(shop)) == 0
    assert next_snapshot(task).otherwise[2] < 0.1


async def test_a_draw_that_could_not_be_rendered_stays_a_fact_when_its_day_is_dropped(shop: Shop) -> None:
    """Else the variant would lose the people whom it failed, and keep those whom it did not."""
    await shop.sent(2, "plan=pro", 200, 20)
    await shop.unrendered(2, "plan=pro", 150, 3)
    facts = (await fitted(shop)).facts
    assert sum(one.sends for one in facts) == 350

    await shop.rows("SELECT detach_generations($1)", (NOW - timedelta(days=10)).date())

    assert (await fitted(shop)).facts == facts


async def test_a_draw_that_a_release_before_attributed_is_told_by_its_generation(shop: Shop) -> None:
    await shop.unrendered(2, "plan=pro", 150, 3)
    await shop.rows("UPDATE sends SET drawn_copy_id = NULL WHERE org_id = $1", shop.org_id)

    assert {one.copy_id for one in (await fitted(shop)).facts} == {shop.copy_ids[2]}


async def test_a_moment_in_the_past_sees_what_had_happened_by_then(shop: Shop) -> None:
    await shop.sent(0, "plan=pro", 10, 10, at=NOW - timedelta(minutes=10))  # clicked in 20 minutes
    await shop.sent(0, "plan=pro", 7, 0, at=NOW + timedelta(minutes=1))

    facts = (await fitted(shop)).facts

    assert [(one.sends, one.delay) for one in facts] == [(10, -1)]


async def test_sends_do_not_ripen_while_no_event_is_loaded(shop: Shop) -> None:
    """One file a day: until the next one comes nobody knows what was clicked, and it is no failure that nothing is."""
    newest = NOW - timedelta(hours=1)
    await shop.tastes()
    for variant in (0, 1):
        await shop.sent(variant, "plan=pro", 300, 0, at=newest - timedelta(minutes=20))
    await shop.told_until(newest)

    first, day_later = await fitted(shop), await fitted(shop, NOW + timedelta(days=1))

    assert day_later.facts == first.facts
    assert next_snapshot(day_later).cells == next_snapshot(first).cells
    assert [settings_of(one)["known_until"] for one in (first, day_later)] == [newest.isoformat()] * 2
    await shop.rows("UPDATE known_events SET emails_until = $1", NOW + timedelta(hours=20))
    assert (await fitted(shop, NOW + timedelta(days=1))).facts != first.facts


async def test_facts_are_never_of_a_moment_after_the_fit(shop: Shop) -> None:
    await shop.sent(0, "plan=pro", 10, 10, at=NOW - timedelta(minutes=10))  # clicked in 20 minutes
    await shop.told_until(NOW + timedelta(hours=1))

    task = await fitted(shop)

    assert [(one.sends, one.delay) for one in task.facts] == [(10, -1)]
    assert task.known_until == NOW


async def test_a_policy_that_cannot_be_read_is_told_and_tried_again_later(shop: Shop) -> None:
    await shop.rows("UPDATE templates SET policy = '{\"floor\": 7}' WHERE org_id = $1", shop.org_id)

    async with running(shop.database_url):
        row = await fits(shop, "ValueError: policy.floor:")

    assert row["lease_until"] > NOW
    assert row["epoch"] == 1
    assert await shop.snapshots() == []
    with pytest.raises(ValueError, match=r"policy\.floor"):
        policy_of({"floor": 7})
