"""Generations on a real database and broker: stored once, whatever is delivered how often."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from shared.schemas.copy import VariantSource
from shared.schemas.ids import window_start
from shared.vars_codec import decode_vars
from tests.component.generator.rig import AT, Rig, running, shop
from tests.support.waiting import eventually
from tests.unit.generator.given import job

SELECT_SCANS = """
    SELECT seq_tup_read AS read_through, idx_scan AS by_key FROM pg_stat_user_tables WHERE relname = $1
"""
EDGE = window_start(AT) + timedelta(hours=1)


async def test_a_webhook_becomes_a_stored_generation_and_a_write(rig: Rig) -> None:
    org_id, copy_ids = await shop(rig, bodies=["<p>Hello {{ first_name }}</p>"])
    webhook = job(AT, org_id=org_id, attrs={"Plan": ["Pro", "a,b"]}, fields={"first_name": "<Ann>"}, repairs=['a"\\b,'])

    async with running(rig):
        await rig.send(webhook)
        (row,) = await rig.generations(1)
        (write,) = await rig.writes(1)

    assert (row["org_id"], row["generation_id"], row["day"]) == (org_id, webhook.generation_id, webhook.day)
    assert (row["decision"], row["reason"], row["copy_id"]) == ("treatment", "burn_in", copy_ids[0])
    assert (row["cell"], row["attrs"], row["repairs"]) == ("plan=a%2cb,pro", webhook.attrs, ['a"\\b,'])
    assert (row["eligible"], row["probabilities"], row["propensity"]) == (copy_ids, [1.0], 1.0)
    assert (row["property_prefix"], row["written_for"]) == ("jai_welcome", "welcome.FLOW1.77")
    assert row["deadline_at"] == AT + timedelta(seconds=300)
    assert row["clean_at"] == AT + timedelta(seconds=300 + 900)
    source = VariantSource(
        copy_ids[0], 1, "Hello {{ first_name | default: 'there' }}", "News", "<p>Hello {{ first_name }}</p>"
    )
    assert decode_vars(row["vars"], source) == ("Hello <Ann>", "News", "<p>Hello &lt;Ann&gt;</p>")
    assert (write.action, write.profile_id, write.prefix) == ("write", "ABC123", "jai_welcome")
    assert (write.generation_id, write.deadline_at) == (webhook.generation_id, row["deadline_at"])


async def test_a_new_days_generations_are_never_read_through(rig: Rig) -> None:
    """The statements' plans are made while the day's partition is empty, and kept."""
    org_id, _ = await shop(rig)
    webhooks = [job(AT, org_id=org_id, user_id=f"P{number}") for number in range(48)]

    async with running(rig):
        for first in range(0, len(webhooks), 4):
            await rig.send(*webhooks[first : first + 4])
            assert len(await rig.writes(4)) == 4

    async def told() -> None:  # a connection tells what it did when it ends
        [row] = await rig.rows(SELECT_SCANS, f"generations_{AT:%Y%m%d}")
        assert row["by_key"] >= len(webhooks)
        assert row["read_through"] == 0

    await eventually(told)


async def test_a_repeated_delivery_changes_nothing_and_asks_for_the_same_write_again(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    webhook = job(AT, org_id=org_id)
    retried = webhook.model_copy(update={"accepted_at": AT + timedelta(minutes=3)})

    async with running(rig):
        await rig.send(webhook, webhook)
        before = await rig.generations(1)
        first = await rig.writes(1)
        await rig.send(webhook)
        assert await rig.writes(1) == first
        await rig.send(retried)
        [later] = await rig.writes(1)
        after = await rig.generations(1)

    assert [dict(row) for row in after] == [dict(row) for row in before]
    assert len(first) == 1
    assert later.generation_id == first[0].generation_id
    assert later.deadline_at - first[0].deadline_at == timedelta(minutes=3)  # its own email comes three minutes later
    assert await rig.left_over() == (0, [])


@pytest.mark.parametrize("across_the_edge", [False, True])
async def test_what_somebody_archived_is_taken_off_when_its_webhook_comes_again(
    rig: Rig, across_the_edge: bool
) -> None:
    org_id, _ = await shop(rig)
    at = EDGE - timedelta(minutes=20 if across_the_edge else 50)
    first, again = job(at, org_id=org_id), job(at + timedelta(minutes=35), org_id=org_id)

    async with running(rig):
        await rig.send(first)
        [written] = await rig.writes(1)
    await rig.rows("UPDATE variants SET state = 'archived'")
    async with running(rig):  # one that has heard of it for sure
        await rig.send(again)
        [later] = await rig.writes(1)
        await rig.generations(1)

    assert (written.action, later.action) == ("write", "clear")
    assert (later.generation_id, later.prefix) == (written.generation_id, "jai_welcome")
    assert (later.generation_id == again.generation_id) is not across_the_edge


async def test_two_replicas_that_are_given_the_same_webhooks_store_each_once(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    webhooks = [job(AT, org_id=org_id, user_id=f"USR{number:03}") for number in range(100)]

    async with running(rig), running(rig):
        for start in range(0, 100, 10):
            await rig.send(*webhooks[start : start + 10])
            await rig.send(*reversed(webhooks[start : start + 10]))
        rows = await rig.generations(100)
        # At least once each: where one replica gets both deliveries in one batch, it asks for the write once.
        writes = await rig.writes(100)

    stored = {row["generation_id"]: row["deadline_at"] for row in rows}
    assert {write.generation_id: write.deadline_at for write in writes} == stored


async def test_a_request_repeated_across_a_windows_edge_is_one_generation_with_an_alias(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    first, again, later = (job(EDGE + timedelta(minutes=at), org_id=org_id) for at in (-10, 10, 55))

    async with running(rig):
        for webhook in (first, again, again.model_copy(update={"accepted_at": EDGE + timedelta(minutes=40)}), later):
            await rig.send(webhook)
            (write,) = await rig.writes(1)
            assert write.generation_id == first.generation_id
        rows = await rig.generations(1)
    (alias,) = await rig.rows("SELECT * FROM generation_aliases")

    assert later.generation_id == again.generation_id
    assert (alias["alias_id"], alias["generation_id"]) == (again.generation_id, rows[0]["generation_id"])
    assert (alias["day"], alias["org_id"], alias["seen_at"]) == (rows[0]["day"], org_id, again.accepted_at)


async def test_the_edge_between_two_days_is_an_edge_like_any_other(rig: Rig) -> None:
    midnight = AT.replace(hour=0, minute=0) + timedelta(days=1)
    org_id, _ = await shop(rig)
    first, again, other = (
        job(midnight + timedelta(minutes=at), org_id=org_id, user_id=user)
        for at, user in ((-5, "ABC123"), (5, "ABC123"), (5, "OTHER1"))
    )

    async with running(rig):
        await rig.send(first, again, other)
        rows = await rig.generations(2)
        (alias,) = await eventually(lambda: rig.rows("SELECT * FROM generation_aliases"))

    assert {row["day"] for row in rows} == {midnight.date(), midnight.date() - timedelta(days=1)}
    assert (alias["alias_id"], alias["generation_id"]) == (again.generation_id, first.generation_id)


@pytest.mark.parametrize("state", ["draft", "archived"])
async def test_a_template_that_is_not_served_is_control_and_clears_its_prefix(rig: Rig, state: str) -> None:
    org_id, _ = await shop(rig, state=state)

    async with running(rig):
        await rig.send(job(AT, org_id=org_id))
        (row,) = await rig.generations(1)
        (write,) = await rig.writes(1)

    assert (row["decision"], row["reason"], row["copy_id"], row["vars"]) == ("control", f"template_{state}", None, None)
    assert (write.action, write.prefix) == ("clear", "jai_welcome")


async def test_no_approved_variant_is_control_and_an_unknown_template_or_org_is_too(rig: Rig) -> None:
    org_id, _ = await shop(rig, bodies=[])

    async with running(rig):
        await rig.send(
            job(AT, org_id=org_id, user_id="A"),
            job(AT, org_id=org_id, user_id="B", template_id="other"),
            job(AT, org_id=uuid4(), user_id="C"),
        )
        rows = await rig.generations(3)
        writes = await rig.writes(1)

    assert [row["reason"] for row in rows] == ["no_approved_variant", "unknown_template", "unknown_template"]
    assert [(write.profile_id, write.action) for write in writes] == [("A", "clear")]
    assert await rig.left_over() == (0, [])


async def test_a_variant_that_was_drawn_and_could_not_be_rendered_is_remembered(rig: Rig) -> None:
    org_id, copy_ids = await shop(rig, bodies=["<p>{{ city }}</p>"])

    async with running(rig):
        await rig.send(
            job(AT, org_id=org_id, user_id="A"), job(AT, org_id=org_id, user_id="B", fields={"city": "Oslo"})
        )
        failed, shown = await rig.generations(2)

    assert (failed["decision"], failed["reason"], failed["copy_id"]) == ("control", "field_missing", None)
    assert (failed["drawn_copy_id"], failed["probabilities"], failed["propensity"]) == (copy_ids[0], [1.0], None)
    assert (shown["copy_id"], shown["drawn_copy_id"]) == (copy_ids[0], None)


async def test_a_poisonous_job_does_not_stop_its_neighbours(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    # The second is refused by a check of ours; the third is one that only PostgreSQL finds.
    jobs = [
        job(AT, org_id=org_id, user_id="GOOD01"),
        job(AT, org_id=org_id, user_id="BAD\x00"),
        job(AT, org_id=org_id, user_id="BAD002", repairs=["\x00"]),
        job(AT, org_id=org_id, user_id="GOOD02"),
    ]

    async with running(rig):
        await rig.send(*jobs)
        rows = await rig.generations(2)
        writes = await rig.writes(2)
        reasons = await eventually(rig.dead_reasons)

    assert [row["user_id"] for row in rows] == ["GOOD01", "GOOD02"]
    assert sorted(write.profile_id for write in writes) == ["GOOD01", "GOOD02"]
    assert [reason.split(":")[0] for reason in reasons] == ["unusable_user_id"]


async def test_what_one_org_said_is_invisible_to_another(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    other_id, _ = await shop(rig)
    across_the_edge = [job(EDGE + timedelta(minutes=at), org_id=org_id) for at in (-5, 5)]

    async with running(rig):
        await rig.send(*across_the_edge)
        await rig.send(job(AT, org_id=other_id))
        await rig.writes(2)

    assert await _orgs_seen_by(rig, org_id) == {
        "generations": {org_id},
        "generation_aliases": {org_id},
        "policy_snapshots": {org_id},
        "variant_versions": {org_id},
    }
    assert await _orgs_seen_by(rig, other_id) == {
        "generations": {other_id},
        "generation_aliases": set(),
        "policy_snapshots": {other_id},
        "variant_versions": {other_id},
    }


async def _orgs_seen_by(rig: Rig, org_id: UUID) -> dict[str, set[UUID]]:
    async with rig.database.transaction(org_id) as connection:
        return {
            table: {row["org_id"] for row in await connection.fetch(f"SELECT org_id FROM {table}")}
            for table in ("generations", "generation_aliases", "policy_snapshots", "variant_versions")
        }


async def test_a_person_gets_another_variant_next_time_and_the_logged_vector_is_the_one_drawn_from(rig: Rig) -> None:
    org_id, copy_ids = await shop(rig, bodies=["<p>A</p>", "<p>B</p>", "<p>C</p>"])
    people = [f"USR{number:03}" for number in range(20)]

    async with running(rig):
        await rig.send(*(job(AT, org_id=org_id, user_id=person) for person in people))
        await rig.writes(20)
        later = AT + timedelta(hours=5)
        await rig.send(*(job(later, org_id=org_id, user_id=person) for person in people))
        rows = await rig.generations(40)
    kept = await rig.rows("SELECT * FROM last_copies")

    first = {row["user_id"]: row["copy_id"] for row in rows if row["accepted_at"] == AT}
    second = [row for row in rows if row["accepted_at"] == later]
    for row in second:
        shares = dict(zip(row["eligible"], row["probabilities"], strict=True))
        assert row["copy_id"] != first[row["user_id"]]
        assert shares == {one: 0.0 if one == first[row["user_id"]] else 0.5 for one in copy_ids}
        assert row["propensity"] == 0.5
    assert {row["user_id"]: row["copy_id"] for row in kept} == {row["user_id"]: row["copy_id"] for row in second}


async def test_what_was_sent_by_another_template_or_org_or_long_ago_does_not_count(rig: Rig) -> None:
    org_id, copy_ids = await shop(rig)
    [now] = await rig.rows("SELECT statement_timestamp() AS at")
    for template_id, of_org, ago_days in (("other", org_id, 1), ("welcome", uuid4(), 1), ("welcome", org_id, 31)):
        await rig.rows(
            "INSERT INTO last_copies VALUES ($1, $2, 'ABC123', $3, $4)",
            of_org, template_id, copy_ids[0], now["at"] - timedelta(days=ago_days),
        )  # fmt: skip

    async with running(rig):
        await rig.send(job(AT, org_id=org_id))
        (row,) = await rig.generations(1)

    assert row["probabilities"] == [0.5, 0.5]


async def test_copy_of_a_template_with_one_variant_is_not_remembered_and_old_copy_is_forgotten(rig: Rig) -> None:
    org_id, _ = await shop(rig, bodies=["<p>A</p>"])
    await rig.rows("INSERT INTO last_copies VALUES ($1, 'welcome', 'OLD001', $1, $2)", org_id, AT - timedelta(days=400))

    async with running(rig):
        await rig.send(job(AT, org_id=org_id))
        await rig.generations(1)
        await eventually(lambda: nothing_remembered(rig))


async def test_where_a_template_allows_repeats_nothing_is_remembered(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    await rig.rows("UPDATE templates SET repeats = 'allow' WHERE org_id = $1", org_id)

    async with running(rig):
        await rig.send(job(AT, org_id=org_id))
        await rig.generations(1)

    await nothing_remembered(rig)


async def nothing_remembered(rig: Rig) -> None:
    assert await rig.rows("SELECT * FROM last_copies") == []


async def test_planned_control_is_a_clear_and_the_same_again_when_it_is_delivered_again(rig: Rig) -> None:
    org_id, _ = await shop(rig)
    await rig.rows("UPDATE templates SET split = 'random', control_ratio = 0.5, control_share = 0.2")
    webhooks = [job(AT, org_id=org_id, user_id=f"USR{number:03}") for number in range(60)]

    async with running(rig):
        await rig.send(*webhooks)
        rows = await rig.generations(60)
        first = await rig.writes(60)
        await rig.send(*webhooks)
        again = await rig.writes(60)

    reasons = {row["generation_id"]: row["reason"] for row in rows}
    assert set(reasons.values()) == {"burn_in", "control_split", "control_holdout"}
    assert {write.generation_id: write.action for write in first} == {
        generation_id: "write" if reason == "burn_in" else "clear" for generation_id, reason in reasons.items()
    }
    assert {one.generation_id: one.action for one in again} == {one.generation_id: one.action for one in first}
