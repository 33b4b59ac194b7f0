"""From files with unsubscribes to a paused variant that nobody gets any more, until a person resumes it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest

from services.ranker.store import Store
from tests.component.cli.rig import Cli, settings
from tests.component.generator.rig import INSERT_VERSION
from tests.component.ranker.rig import NOW, Shop, open_shop, running
from tests.support.waiting import eventually

INSERT_GENERATIONS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, copy_id, property_prefix, written_for, cell, propensity)
    SELECT $1, gen_random_uuid(), $2, 'welcome', $6 || n, 'u.f.a', $3, $3, $3, $4, $5, $7, 'jai', 'w.f.a', $8, 0.5
    FROM generate_series(1, $9::int) n RETURNING generation_id
"""
INSERT_SENDS = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, copy_id, cell, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks,
        bot_clicks)
    SELECT $1, 'T' || id, 'P' || id, $2, $3, 'message', id, $3, 'welcome', $4, $5, true, false, n <= $7, false, 0, 0,
        0, 0
    FROM unnest($6::uuid[]) WITH ORDINALITY u (id, n)
"""
INSERT_ROLLUP = """
    INSERT INTO rollups (org_id, template_id, copy_id, cell, day, sends, delivered, human_opens, machine_opens,
        human_clicks, bot_clicks, unsubscribes, bounces, spam)
    VALUES ($1, 'welcome', $2, $3, $4, $5, $5, 0, 0, 0, 0, $6, 0, 0)
"""
INSERT_BRANCH = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, synced_at)
    VALUES ($1, 'F', 'Welcome', 'live', 'C', 'MC', 'Control', $2)
"""
INSERT_BRANCH_SENDS = """
    INSERT INTO sends (org_id, transmission_id, profile_id, message_id, sent_at, day, attribution, delivered, bounced,
        unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks)
    SELECT $1, 'C' || ($3::date)::text || n, 'C' || n, 'MC', $2, $3, 'no_generation', true, false, n <= $5::int, false,
        0, 0, 0, 0
    FROM generate_series(1, $4::int) n
"""


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, variants=2) as opened:
        for copy_id in opened.copy_ids:
            await opened.rows(INSERT_VERSION, opened.org_id, copy_id, 1, "<p>A</p>", NOW)
        yield opened


async def sent(shop: Shop, variant: int | None, sends: int, away: int, *, days_ago: int = 1, cell: str = "") -> None:
    """Delivered emails of one day, so many of which made somebody unsubscribe, as ingest leaves them."""
    at = NOW - timedelta(days=days_ago)
    copy_id: UUID | None = None if variant is None else shop.copy_ids[variant]
    decision, reason = ("control", "control_split") if variant is None else ("treatment", "explore")
    await shop.rows("SELECT ensure_partition('generations', $1)", at.date())
    ids = await shop.rows(
        INSERT_GENERATIONS, at.date(), shop.org_id, at, decision, reason, f"U{variant}{days_ago}{cell}", copy_id, cell,
        sends,
    )  # fmt: skip
    await shop.rows(
        INSERT_SENDS, shop.org_id, at, at.date(), copy_id, cell, [row["generation_id"] for row in ids], away
    )  # fmt: skip
    await shop.rows(INSERT_ROLLUP, shop.org_id, copy_id, cell, at.date(), sends, away)


async def driven_away(shop: Shop, variant: int = 0) -> None:
    """A tenth of those who get the variant unsubscribe, and a hundredth of the others."""
    for days_ago in (1, 2):
        await sent(shop, variant, 300, 30, days_ago=days_ago)
        await sent(shop, 1 - variant, 300, 3, days_ago=days_ago)
        await sent(shop, None, 300, 3, days_ago=days_ago)


async def states(shop: Shop) -> list[str]:
    return [row["state"] for row in await shop.rows("SELECT state FROM variants ORDER BY copy_id")]


async def events(shop: Shop) -> list[tuple[str, str]]:
    return [(r["event"], r["actor"]) for r in await shop.rows("SELECT event, actor FROM variant_events ORDER BY 1")]


async def logged(shop: Shop) -> None:
    """Both variants could be drawn at each decision: only then results have rows of them."""
    await shop.rows(
        "UPDATE generations SET eligible = $1, probabilities = '{0.5,0.5}' WHERE copy_id IS NOT NULL", shop.copy_ids
    )


async def look(shop: Shop) -> list[UUID]:
    """One look of the guardrail; who was paused."""
    store = Store(shop.database)
    claim = await store.claim(NOW, NOW + timedelta(minutes=5))
    assert claim is not None
    paused = [one.copy_id for one in await store.guard(claim, NOW)]
    await store.failed(claim, "given up", NOW - timedelta(seconds=1))
    return paused


async def just(shop: Shop, *arguments: str) -> str:
    """What a person's command says, at NOW."""
    clock = {"JUSTAI_CLOCK": f"scaled:1:{time.time()}:{NOW.isoformat()}"}
    return await asyncio.to_thread(Cli(settings(shop.database_url, "amqp://127.0.0.1:1/") | clock).ok, *arguments)


async def test_a_variant_that_drives_people_away_is_paused_with_its_numbers_and_gets_no_share(shop: Shop) -> None:
    await driven_away(shop)

    async with running(shop.database_url):

        async def paused() -> None:
            assert await states(shop) == ["paused", "approved"]
            assert [row["otherwise"] for row in await shop.snapshots()][-1:] == [{str(shop.copy_ids[1]): 1.0}]

        await eventually(paused, within_s=15)

    (event,) = await shop.rows("SELECT * FROM variant_events")
    assert (event["event"], event["actor"], event["copy_id"]) == ("paused", "guardrail", shop.copy_ids[0])
    assert event["comment"].startswith(
        "60 unsubscribes and complaints in 600 sends (10.00%), against 1.00% of control (p = "
    )
    assert "paused" in await just(shop, "variant", "list", "shop", "welcome")
    shown = await just(shop, "variant", "show", "shop", "welcome", "v0")
    assert "# paused by guardrail, 2026-11-23 10:00:" in shown
    assert "60 unsubscribes and complaints" in shown


async def test_the_last_variant_is_never_paused(shop: Shop) -> None:
    await driven_away(shop)
    await shop.rows("UPDATE variants SET state = 'archived' WHERE copy_id = $1", shop.copy_ids[1])

    assert await look(shop) == []
    assert await states(shop) == ["approved", "archived"]


async def test_of_two_bad_ones_the_surer_goes(shop: Shop) -> None:
    for variant, away in ((0, 30), (1, 60)):
        await sent(shop, variant, 300, away)
    await sent(shop, None, 300, 1)

    assert await look(shop) == [shop.copy_ids[1]]
    assert await look(shop) == []


@pytest.mark.parametrize("others", [3, 30])
async def test_what_is_no_worse_than_control_stays(shop: Shop, others: int) -> None:
    await sent(shop, 0, 300, 30)
    await sent(shop, 1, 300, others)
    await sent(shop, None, 300, 30)
    await sent(shop, None, 3000, 0, cell="plan=pro")  # others, who are asked about nothing

    assert await look(shop) == ([] if others == 30 else [shop.copy_ids[0]])


@pytest.fixture
async def branches(shop: Shop) -> Shop:
    """Klaviyo's branches are the split: control is an email of its own flow, which calls nobody."""
    await shop.rows(INSERT_BRANCH, shop.org_id, NOW)
    await shop.rows("UPDATE templates SET split = 'external', control_action_id = 'C'")
    return shop


async def by_branch(shop: Shop, *cells: str, days_ago: int = 1) -> None:
    """A tenth leaves by either variant, in each of the cells, and 3 of 1,000 by Klaviyo's branch."""
    at = NOW - timedelta(days=days_ago)
    for cell in cells:
        for variant in (0, 1):
            await sent(shop, variant, 300, 30, cell=cell, days_ago=days_ago)
    await shop.rows(INSERT_BRANCH_SENDS, shop.org_id, at, at.date(), 1_000, 3)


async def noted(shop: Shop) -> str | None:
    (row,) = await shop.rows("SELECT driven_away FROM policy_fits")
    said: str | None = row["driven_away"]
    return said


async def test_of_two_as_bad_beside_klaviyo_s_branch_one_goes_where_all_are_of_one_cell(branches: Shop) -> None:
    await by_branch(branches, "plan=pro")

    assert len(await look(branches)) == 1
    assert await noted(branches) is None  # what is served now is another thing; it shows from the next day on
    for days_ago in (-1, -2):
        await by_branch(branches, "plan=pro", days_ago=days_ago)
    assert await look(branches) == []
    assert "against 0.30% of control, day by day" in (await noted(branches) or "")


async def test_where_cells_differ_it_is_noted_of_the_template_until_it_is_over(branches: Shop) -> None:
    await by_branch(branches, "plan=pro", "plan=free")

    assert await look(branches) == []
    said = await noted(branches)
    assert said is not None
    assert said.startswith(
        "120 unsubscribes and complaints in 1,200 sends (10.00%), against 0.30% of control, day by day, whatever the "
        "attrs (p = "
    )
    await logged(branches)
    found = json.loads(await just(branches, "results", "shop", "welcome", "--json"))
    assert [one["guardrail"]["verdict"] for one in found["variants"]] == ["fine", "fine"]

    await just(branches, "variant", "archive", "shop", "welcome", "v0", "--as", "Ann")
    assert await look(branches) == []
    assert await noted(branches) is None


async def test_who_resumes_it_is_not_overruled_by_the_same_facts_but_by_new_ones(shop: Shop) -> None:
    await driven_away(shop)
    assert await look(shop) == [shop.copy_ids[0]]

    said = await just(shop, "variant", "resume", "shop", "welcome", "v0", "--comment", "a bad list", "--as", "Ann")

    assert said == '"v0" is live, version 1.\n'
    assert await look(shop) == []
    assert await events(shop) == [("paused", "guardrail"), ("resumed", "Ann")]
    for variant, away in ((0, 30), (1, 3), (None, 3)):
        await sent(shop, variant, 300, away, days_ago=-1)
    assert await look(shop) == [shop.copy_ids[0]]


async def test_replicas_pause_a_variant_once(shop: Shop) -> None:
    await driven_away(shop)

    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(running(shop.database_url, refit_s=0.2))
        await shop.looked_at(4)

    assert await events(shop) == [("paused", "guardrail")]


async def test_results_say_that_it_is_paused(shop: Shop) -> None:
    await driven_away(shop)
    await logged(shop)
    await look(shop)

    data = json.loads(await just(shop, "results", "shop", "welcome", "--json"))

    assert {one["name"]: one["paused"] for one in data["variants"]} == {"v0": True, "v1": False}
    assert data["advice"][0].startswith("'v0' is paused; `justai variant history` says why")


async def test_results_say_to_pause_what_was_resumed_by_new_facts_alone(shop: Shop) -> None:
    await driven_away(shop)
    await logged(shop)
    await look(shop)
    await just(shop, "variant", "resume", "shop", "welcome", "v0", "--comment", "a bad list", "--as", "Ann")

    before = json.loads(await just(shop, "results", "shop", "welcome", "--json"))
    for variant, away in ((0, 30), (1, 3), (None, 3)):
        await sent(shop, variant, 300, away, days_ago=-1)
    await logged(shop)
    after = json.loads(await just(shop, "results", "shop", "welcome", "--json", "--until", "2026-11-25"))

    assert {one["name"]: one["guardrail"]["verdict"] for one in before["variants"]} == {"v0": "pause", "v1": "fine"}
    assert not any("Pause" in one for one in before["advice"])
    assert after["advice"][0].startswith("Pause 'v0': 30 unsubscribes and complaints in 300 sends (10.00%)")
