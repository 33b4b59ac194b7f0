"""What is served follows what is stored: changes within five seconds, policies by the newest that fits."""

from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg

from shared.admin.stops import RESUME_ORG, RESUME_TEMPLATE, STOP_ORG, STOP_TEMPLATE
from tests.component.generator.rig import AT, INSERT_VERSION, Rig, running, shop
from tests.support.waiting import eventually
from tests.unit.generator.given import job

INSERT_SNAPSHOT = """
    INSERT INTO policy_snapshots (org_id, template_id, snapshot_id, model, cells, otherwise, created_at)
    VALUES ($1, 'welcome', $2, $3, $4, $5, $6)
"""


async def served(rig: Rig, org_id: UUID, number: int) -> str:
    """The reason or the variant version of a fresh webhook."""
    webhook = job(AT, org_id=org_id, user_id=f"U{number:05}")
    await rig.send(webhook)
    (row,) = await eventually(
        lambda: rig.rows(
            "SELECT reason, variant_version FROM generations WHERE generation_id = $1", webhook.generation_id
        )
    )
    return f"version {row['variant_version']}" if row["variant_version"] else str(row["reason"])


async def eventually_served(rig: Rig, org_id: UUID, expected: str, first_number: int) -> None:
    numbers = iter(range(first_number, first_number + 10_000))

    async def check() -> None:
        assert await served(rig, org_id, next(numbers)) == expected

    await eventually(check, within_s=5)


async def test_a_change_is_served_within_five_seconds(rig: Rig) -> None:
    org_id, (copy_id,) = await shop(rig, bodies=["<p>A</p>"])

    async with running(rig):
        assert await served(rig, org_id, 0) == "version 1"

        await rig.rows("UPDATE templates SET state = 'draft' WHERE org_id = $1", org_id)
        await eventually_served(rig, org_id, "template_draft", 1)

        await rig.rows("UPDATE templates SET state = 'active' WHERE org_id = $1", org_id)
        await rig.rows(INSERT_VERSION, org_id, copy_id, 2, "<p>A2</p>", AT)
        await rig.rows("UPDATE variants SET version = 2 WHERE copy_id = $1", copy_id)
        await eventually_served(rig, org_id, "version 2", 20_000)

        await rig.rows("UPDATE variants SET state = 'archived' WHERE copy_id = $1", copy_id)
        await eventually_served(rig, org_id, "no_approved_variant", 40_000)


async def test_a_stop_of_the_template_or_its_org_is_control_within_five_seconds_until_it_is_resumed(rig: Rig) -> None:
    org_id, _ = await shop(rig)

    async with running(rig):
        assert await served(rig, org_id, 0) == "version 1"

        await rig.rows(STOP_TEMPLATE, org_id, "welcome", AT, "wrong price")
        await eventually_served(rig, org_id, "stopped", 1)
        await rig.rows(RESUME_TEMPLATE, org_id, "welcome")
        await eventually_served(rig, org_id, "version 1", 20_000)

        await rig.rows(STOP_ORG, org_id, AT, None)
        await eventually_served(rig, org_id, "stopped", 40_000)
        await rig.rows(RESUME_ORG, org_id)
        await eventually_served(rig, org_id, "version 1", 60_000)


async def test_a_change_is_served_even_when_the_listening_connection_was_cut(rig: Rig) -> None:
    org_id, _ = await shop(rig)

    async with running(rig):
        assert await served(rig, org_id, 0) == "version 1"

        await rig.rows("UPDATE templates SET state = 'draft' WHERE org_id = $1", org_id)
        await eventually_served(rig, org_id, "template_draft", 1)
        (cut,) = await _cut_listener(rig.database_url)
        await rig.rows("UPDATE templates SET state = 'active' WHERE org_id = $1", org_id)
        await eventually_served(rig, org_id, "version 1", 20_000)

    assert cut


async def _cut_listener(database_url: str) -> list[bool]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT pg_terminate_backend(pid) AS cut FROM pg_stat_activity "
            "WHERE application_name = 'generator.listen' AND datname = current_database()"
        )
    finally:
        await connection.close()
    return [row["cut"] for row in rows]


async def test_every_logged_snapshot_is_stored_and_an_unchanged_template_has_one(rig: Rig) -> None:
    org_id, copy_ids = await shop(rig, bodies=["<p>A</p>", "<p>B</p>", "<p>C</p>"])

    async with running(rig):
        for start in (0, 100, 200):
            await rig.send(*(job(AT, org_id=org_id, user_id=f"U{start + number}") for number in range(30)))
        rows = await rig.generations(90)
    snapshots = await rig.rows("SELECT snapshot_id, model, otherwise FROM policy_snapshots")

    assert {row["snapshot_id"] for row in rows} == {snapshot["snapshot_id"] for snapshot in snapshots}
    assert [(one["model"], one["otherwise"]) for one in snapshots] == [
        ("uniform", {str(copy_id): 1 / 3 for copy_id in copy_ids})
    ]
    assert {row["copy_id"] for row in rows} == set(copy_ids)


async def test_the_newest_policy_that_covers_exactly_the_approved_variants_is_used(rig: Rig) -> None:
    org_id, (one, two) = await shop(rig)
    old, newest, partial, broken = uuid4(), uuid4(), uuid4(), uuid4()
    only_two = {str(one): 0.0, str(two): 1.0}
    cells = {"plan=pro": {str(one): 1.0, str(two): 0.0}}
    for days, (snapshot_id, otherwise) in enumerate(
        [(old, {str(one): 1.0, str(two): 0.0}), (newest, only_two), (partial, {str(one): 1.0})]
    ):
        await rig.rows(INSERT_SNAPSHOT, org_id, snapshot_id, "fitted", cells, otherwise, AT.replace(day=1 + days))

    async with running(rig):
        await rig.send(job(AT, org_id=org_id, user_id="A"), job(AT, org_id=org_id, user_id="B", attrs={"plan": "PRO"}))
        plain, pro = await rig.generations(2)
        await rig.rows(INSERT_SNAPSHOT, org_id, broken, "broken", {}, {str(one): 0.9, str(two): 0.9}, AT)
        await eventually_served(rig, org_id, "version 1", 1)
        rows = await rig.rows("SELECT DISTINCT reason FROM generations WHERE user_id LIKE 'U%'")

    assert (plain["reason"], plain["copy_id"], plain["snapshot_id"], plain["propensity"]) == (
        "explore",
        two,
        newest,
        1.0,
    )
    assert (pro["cell"], pro["copy_id"], pro["snapshot_id"], pro["propensity"]) == ("plan=pro", one, newest, 1.0)
    assert {row["reason"] for row in rows} <= {"explore", "fallback"}  # the broken one is the newest: not drawn from


async def test_a_fitted_policy_is_served_before_a_uniform_one_that_was_stored_after_it(rig: Rig) -> None:
    org_id, copy_ids = await shop(rig)
    first, second = map(str, sorted(copy_ids))
    fitted, uniform = uuid4(), uuid4()
    await rig.rows(INSERT_SNAPSHOT, org_id, fitted, "logistic", {}, {first: 0.0, second: 1.0}, AT)
    await rig.rows("UPDATE policy_snapshots SET fitted_until = $2 WHERE snapshot_id = $1", fitted, AT)
    later = AT + timedelta(minutes=1)
    await rig.rows(INSERT_SNAPSHOT, org_id, uniform, "uniform", {}, {first: 0.5, second: 0.5}, later)

    async with running(rig):
        await rig.send(job(AT, org_id=org_id))
        (row,) = await rig.generations(1)

    assert row["snapshot_id"] == fitted
    assert row["probabilities"] == [0.0, 1.0]


async def test_a_cell_may_list_its_shares_in_the_order_of_the_copy_ids(rig: Rig) -> None:
    org_id, copy_ids = await shop(rig)
    first, second = map(str, sorted(copy_ids))
    cells = {"plan=pro": [0.0, 1.0], "plan=free": {first: 1.0, second: 0.0}}
    await rig.rows(INSERT_SNAPSHOT, org_id, uuid4(), "logistic", cells, {first: 0.5, second: 0.5}, AT)

    async with running(rig):
        await rig.send(job(AT, org_id=org_id, user_id="A", attrs={"plan": "pro"}))
        await rig.send(job(AT, org_id=org_id, user_id="B", attrs={"plan": "free"}))
        rows = await rig.generations(2)

    assert [row["probabilities"] for row in rows] == [[0.0, 1.0], [1.0, 0.0]]


async def test_definitions_of_attrs_are_served_within_five_seconds_and_broken_ones_cost_the_ranking_alone(
    rig: Rig,
) -> None:
    org_id, _ = await shop(rig)
    pro = {"plan": {"kind": "string", "options": {"pro": ["premium"]}}}

    async def cell(number: int) -> str:
        webhook = job(AT, org_id=org_id, user_id=f"C{number:05}", attrs={"plan": "Premium", "city": "Bern"})
        await rig.send(webhook)
        (row,) = await eventually(
            lambda: rig.rows("SELECT cell, reason FROM generations WHERE generation_id = $1", webhook.generation_id)
        )
        assert row["reason"] == "burn_in"
        return str(row["cell"])

    async def eventually_in(expected: str, first_number: int) -> None:
        numbers = iter(range(first_number, first_number + 10_000))

        async def check() -> None:
            assert await cell(next(numbers)) == expected

        await eventually(check, within_s=5)

    async with running(rig):
        await eventually_in("city=bern&plan=premium", 0)
        await rig.rows("UPDATE orgs SET attributes = $1", pro)
        await eventually_in("city=bern&plan=pro", 10_000)
        await rig.rows("UPDATE templates SET other_attrs = 'ignore'")
        await eventually_in("plan=pro", 20_000)
        await rig.rows("UPDATE templates SET attributes = $1", {"plan": {"kind": "string", "options": ["gold"]}})
        await eventually_in("plan=other", 30_000)
        await rig.rows("UPDATE templates SET attributes = $1", {"plan": {"kind": "colour"}})
        await eventually_in("city=bern&plan=premium", 40_000)
