"""The checks on rows of a database: this org's own, and each kind of trouble found."""

from datetime import timedelta
from uuid import uuid4

from shared.admin.checks import checks
from shared.admin.checks.rules import Item
from shared.admin.operation import Nothing
from tests.component.admin.rig import START, Rig

INSERT_GENERATION = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
                             clean_at, decision, reason, property_prefix, written_for)
    VALUES ($1::timestamptz::date, $2, $3, $4, $5, 't', $1, $1, $1, 'control', $6, 'jai', 'F.A')
"""
INSERT_OUTCOME = """
    INSERT INTO write_outcomes (day, generation_id, org_id, outcome, reason, at, attempts)
    VALUES ($1::timestamptz::date, $2, $3, $4, $5, $1, 1)
"""


async def generated(org: Rig, template_id: str, user_id: str, reason: str, ended: tuple[str, str | None]) -> None:
    generation_id, at = uuid4(), START - timedelta(minutes=5)
    for table in ("generations", "write_outcomes"):
        await org.rows("SELECT ensure_partition($1, $2)", table, at.date())
    await org.rows(INSERT_GENERATION, at, generation_id, org.org_id, template_id, user_id, reason)
    await org.rows(INSERT_OUTCOME, at, generation_id, org.org_id, *ended)


def of(items: list[Item], name: str) -> Item:
    return next(one for one in items if one.name == name)


async def test_an_org_without_anything_is_checked(acme: Rig) -> None:
    found = await acme.run(checks.run_checks, Nothing(), "viewer")

    assert [one.tone for one in found.items] == ["bad", "bad", "info", "bad"]


async def test_wrong_ids_unknown_templates_and_misses_of_this_org_are_found_and_no_others(acme: Rig) -> None:
    other = await acme.other()
    await generated(acme, "welcome", "ann@example.com", "uniform", ("rejected", "profile_id_invalid"))
    await generated(acme, "welcom", "01ABC", "unknown_template", ("nothing_to_clear", None))
    await generated(other, "theirs", "01SECRET", "uniform", ("rejected", "profile_id_invalid"))
    await generated(other, "theirs", "01SECRET", "uniform", ("expired", "quota"))

    mine = (await acme.run(checks.run_checks, Nothing())).items
    theirs = (await other.run(checks.run_checks, Nothing())).items

    assert [one.examples for one in of(mine, "wrong_profile_id").findings] == [("ann@example.com (template welcome)",)]
    assert ("welcom",) in [one.examples for one in of(mine, "webhook_not_firing").findings]
    assert "01SECRET" not in str(mine)
    assert any("Missed their deadline: 1" in one.says for one in of(theirs, "properties_empty").findings)


async def test_a_flow_in_draft_is_named(acme: Rig) -> None:
    await acme.rows(
        "INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, "
        "delay_s, synced_at) VALUES ($1, 'FLOW01', 'Welcome series', 'draft', 'A1', 'M1', 'Email', 180, $2)",
        acme.org_id, START,
    )  # fmt: skip

    found = of((await acme.run(checks.run_checks, Nothing())).items, "webhook_not_firing")

    assert any("'Welcome series': the flow is draft, not live" in one.says for one in found.findings)
