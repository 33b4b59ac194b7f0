"""`justai policy`: what is served, and the proof that a snapshot follows from its facts."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.ranker.fit import next_snapshot
from services.ranker.store import Store
from tests.component.cli.rig import Cli
from tests.component.generator.rig import INSERT_VERSION
from tests.component.ranker.rig import NOW, Shop, open_shop

AT = ("--at", "2026-11-23T12:00")
INSERT_APPROVED = """
    INSERT INTO variant_events (org_id, copy_id, version, event, actor, created_at)
    VALUES ($1, $2, $3, 'approved', 'Ann', $4)
"""


def on_a_shop(database_url: str, work: Any, **policy: Any) -> None:
    """The command line has an event loop of its own, so the shop needs one beside it."""

    async def run() -> None:
        async with open_shop(database_url, **policy) as shop:
            await work(shop)

    asyncio.run(run())


async def fit(shop: Shop, at: datetime = NOW, *, stored: bool = True) -> None:
    """`stored`: whether it is another snapshot than the one that is served."""
    store = Store(shop.database)
    claim = await store.claim(at, at + timedelta(minutes=5))
    assert claim is not None
    task = await store.task(claim, at)
    assert await store.settle(claim, task, next_snapshot(task), at, at + timedelta(hours=1)) is stored


async def becomes(shop: Shop, name: str, state: str, event: str, at: datetime) -> None:
    """A variant's state changes, and its history says so."""
    await shop.rows(
        "INSERT INTO variant_events (org_id, copy_id, version, event, actor, created_at) "
        "SELECT org_id, copy_id, 1, $2, 'Ann', $3 FROM variants WHERE org_id = $1 AND name = $4",
        shop.org_id, event, at, name,
    )  # fmt: skip
    await shop.rows("UPDATE variants SET state = $2 WHERE org_id = $1 AND name = $3", shop.org_id, state, name)


async def paused_again(shop: Shop) -> None:
    """v2 was approved an hour after the others, and paused two hours after them."""
    await shop.rows("UPDATE variants SET state = 'draft' WHERE name = 'v2'")
    await fit(shop)
    await becomes(shop, "v2", "approved", "approved", NOW + timedelta(hours=1))
    await fit(shop, NOW + timedelta(hours=1))
    await becomes(shop, "v2", "paused", "paused", NOW + timedelta(hours=2))
    await fit(shop, NOW + timedelta(hours=2), stored=False)


def shares(cli: Cli, *options: str) -> dict[str, Any]:
    told = json.loads(cli.ok("policy", "show", "shop", "welcome", "--json", *options))
    return dict(zip([one["name"] for one in told["variants"]], told["otherwise"], strict=True))


def test_a_template_that_nothing_was_fitted_for_is_uniform(cli: Cli, database_url: str) -> None:
    async def nothing(_shop: Shop) -> None: ...

    on_a_shop(database_url, nothing)

    shown = cli.ok("policy", "show", "shop", "welcome")
    assert "Nothing was fitted for these variants yet: uniform over v0, v1, v2." in shown
    assert "(everybody else) 0.3333 0.3333 0.3333" in " ".join(shown.split())
    assert "Nobody is drawn for now" not in shown
    assert "There is no template 'typo'" in cli.line("policy", "show", "shop", "typo")
    assert "No snapshot of welcome was fitted" in cli.line("policy", "rebuild", "shop", "welcome")


@pytest.mark.parametrize("change", ["state = 'draft'", "stopped_at = now()"])
def test_shares_that_nobody_is_drawn_by_are_told_as_such(cli: Cli, database_url: str, change: str) -> None:
    async def becomes_idle(shop: Shop) -> None:
        await shop.rows(f"UPDATE templates SET {change}")

    on_a_shop(database_url, becomes_idle)

    assert "Nobody is drawn for now: welcome is not live, or is stopped" in cli.ok("policy", "show", "shop", "welcome")
    assert json.loads(cli.ok("policy", "show", "shop", "welcome", "--json"))["drawn_from"] is False


def test_shares_are_shown_by_variant_and_cell(cli: Cli, database_url: str) -> None:
    async def tastes(shop: Shop) -> None:
        await shop.tastes()
        await fit(shop)

    on_a_shop(database_url, tastes)

    shown = cli.ok("policy", "show", "shop", "welcome", *AT)
    assert "from 3600 sends with 168 clicks" in shown
    assert [line.split()[0] for line in shown.splitlines() if "plan=" in line] == ["plan=free", "plan=pro"]
    one = cli.ok("policy", "show", "shop", "welcome", *AT, "--cell", "plan=pro")
    assert "plan=free" not in one
    assert "no moment" in cli.run("policy", "show", "shop", "welcome", "--at", "yesterday").output


def test_machines_get_every_share_in_the_order_of_the_variants(cli: Cli, database_url: str) -> None:
    async def tastes(shop: Shop) -> None:
        await shop.tastes()
        await fit(shop)

    on_a_shop(database_url, tastes)

    told = json.loads(cli.ok("policy", "show", "shop", "welcome", *AT, "--json"))
    assert (told["model"], told["sends"], told["clicks"], told["error"]) == ("logistic", 3600, 168, None)
    assert [one["name"] for one in told["variants"]] == ["v0", "v1", "v2"]
    assert sorted(told["cells"]) == ["plan=free", "plan=pro"]
    assert told["cells"]["plan=free"][0] > 0.5
    assert told["cells"]["plan=pro"][2] > 0.5
    one = json.loads(cli.ok("policy", "show", "shop", "welcome", *AT, "--json", "--cell", "plan=nobody"))
    assert one["cells"] == {"plan=nobody": one["otherwise"]}
    early = json.loads(cli.ok("policy", "show", "shop", "welcome", "--at", "2026-11-22T10:00", "--json"))
    assert early == {"drawn_from": True, "snapshot_id": None, "error": None}


def test_a_snapshot_is_rebuilt_from_its_facts_and_late_files_are_told(cli: Cli, database_url: str) -> None:
    async def tastes(shop: Shop) -> None:
        await shop.tastes()
        await fit(shop)

    async def late(shop: Shop) -> None:
        await shop.tastes()
        await fit(shop)
        await shop.sent(1, "plan=pro", 40, 30)

    on_a_shop(database_url, tastes)
    told = cli.ok("policy", "rebuild", "shop", "welcome", *AT)
    assert "From its own facts: the same shares in all 3 rows." in told
    assert "From today's events: the same facts." in told

    on_a_shop(database_url, late, slug="late")
    told = cli.ok("policy", "rebuild", "late", "welcome", *AT)
    assert "From its own facts: the same shares in all 3 rows." in told
    assert "other facts (+40 sends)" in told


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_snapshot_is_rebuilt_by_the_texts_of_its_moment(cli: Cli, database_url: str, hours: int) -> None:
    """A variant was rewritten an hour before the fit, or an hour after it."""

    async def rewritten(shop: Shop) -> None:
        for version, body, at in ((1, "<p>Coffee</p>", timedelta(days=-30)), (2, "<p>Tea</p>", timedelta(hours=hours))):
            await shop.rows(INSERT_VERSION, shop.org_id, shop.copy_ids[0], version, body, NOW + at)
            await shop.rows(INSERT_APPROVED, shop.org_id, shop.copy_ids[0], version, NOW + at)
        await shop.tastes()
        await fit(shop)

    on_a_shop(database_url, rewritten)

    told = cli.ok("policy", "rebuild", "shop", "welcome", *AT)
    assert "From its own facts: the same shares in all 3 rows." in told
    assert "From today's events: the same facts." in told


def test_a_snapshot_is_rebuilt_from_what_was_known_at_its_moment(cli: Cli, database_url: str) -> None:
    """The newest event was of 40 minutes before the fit; the emails' clicks came ten minutes after it."""

    async def a_file_a_day(shop: Shop) -> None:
        await shop.tastes()
        await shop.told_until(NOW - timedelta(minutes=40))
        await shop.sent(1, "plan=pro", 40, 30, at=NOW - timedelta(hours=1))
        await fit(shop)
        await shop.rows("UPDATE known_events SET emails_until = $1", NOW + timedelta(hours=1))

    on_a_shop(database_url, a_file_a_day)

    told = cli.ok("policy", "rebuild", "shop", "welcome", *AT)
    assert "facts until 2026-11-23 09:20:00 UTC" in told
    assert "From its own facts: the same shares in all 3 rows." in told
    assert "From today's events: the same facts." in told
    assert "Facts until 2026-11-23 09:20:00 UTC from 3640 sends with 168 clicks" in cli.ok(
        "policy", "show", "shop", "welcome", *AT
    )


def test_a_snapshot_of_a_release_that_knew_no_texts_is_rebuilt_as_it_was_fitted(cli: Cli, database_url: str) -> None:
    async def older(shop: Shop) -> None:
        await shop.tastes()
        await fit(shop)
        await shop.rows("UPDATE policy_snapshots SET settings = settings - 'by_text'")
        for version, body in ((1, "<p>Coffee</p>"), (2, "<p>Tea</p>")):
            await shop.rows(INSERT_VERSION, shop.org_id, shop.copy_ids[0], version, body, NOW - timedelta(hours=1))
            await shop.rows(INSERT_APPROVED, shop.org_id, shop.copy_ids[0], version, NOW - timedelta(hours=1))

    on_a_shop(database_url, older)

    assert "From today's events: the same facts." in cli.ok("policy", "rebuild", "shop", "welcome", *AT)


def test_a_snapshot_that_was_edited_is_found_out(cli: Cli, database_url: str) -> None:
    async def edited(shop: Shop) -> None:
        await shop.tastes()
        await fit(shop)
        await shop.rows("UPDATE policy_snapshots SET cells = jsonb_set(cells, '{plan=pro}', '[0, 0, 1]')")

    on_a_shop(database_url, edited)

    assert "OTHER shares" in cli.run("policy", "rebuild", "shop", "welcome", *AT).output


def test_what_is_shown_is_what_is_served_although_a_newer_policy_names_another_variant(
    cli: Cli, database_url: str
) -> None:
    on_a_shop(database_url, paused_again, model="fixed", shares={"v0": 3, "v1": 1, "v2": 4})

    two, three = {"v0": 0.75, "v1": 0.25}, {"v0": 0.375, "v1": 0.125, "v2": 0.5}
    assert shares(cli) == two
    assert shares(cli, "--at", "2026-11-23T10:30") == two
    assert shares(cli, "--at", "2026-11-23T11:30") == three
    assert shares(cli, "--at", "2026-11-23T12:30") == two
    first = json.loads(cli.ok("policy", "show", "shop", "welcome", "--json"))["snapshot_id"]
    assert f"Snapshot {first}" in cli.ok("policy", "rebuild", "shop", "welcome")


def test_variants_without_a_policy_of_their_own_are_uniform(cli: Cli, database_url: str) -> None:
    async def work(shop: Shop) -> None:
        await paused_again(shop)
        await becomes(shop, "v0", "archived", "archived", NOW + timedelta(hours=3))

    on_a_shop(database_url, work, model="fixed", shares={"v0": 3, "v1": 1, "v2": 4})

    told = json.loads(cli.ok("policy", "show", "shop", "welcome", "--json"))
    assert (told["snapshot_id"], told["model"], told["otherwise"]) == (None, "uniform", [1.0])
    assert "uniform over v1." in cli.ok("policy", "show", "shop", "welcome")
    assert "was fitted until now for the variants approved then" in cli.line("policy", "rebuild", "shop", "welcome")


def test_where_no_variant_is_approved_there_is_nothing_to_draw(cli: Cli, database_url: str) -> None:
    async def work(shop: Shop) -> None:
        await fit(shop)
        await shop.rows("UPDATE variants SET state = 'archived'")

    on_a_shop(database_url, work)

    assert "No variant is approved" in cli.ok("policy", "show", "shop", "welcome")


def test_before_the_first_fit_there_is_nothing_to_rebuild(cli: Cli, database_url: str) -> None:
    async def tastes(shop: Shop) -> None:
        await shop.tastes()
        await fit(shop)

    on_a_shop(database_url, tastes)

    said = cli.line("policy", "rebuild", "shop", "welcome", "--at", "2026-11-22T10:00")
    assert "was fitted until 2026-11-22" in said
