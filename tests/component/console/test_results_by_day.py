"""Results that compare day by day: counts and the log say the same of changed splits and of Klaviyo's own branch."""

from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from shared.admin.errors import Refused
from shared.admin.results import results, sends
from shared.admin.results.report import make_report
from shared.zones import zone_of
from tests.component.admin.rig import Rig
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.results import History

ASKED: Mapping[str, Any] = {"template_id": "welcome"}

# On the newer days one in ten of those that are control, and a quarter of the clicks of everybody.
FEWER_CONTROLS = """
    WITH gone AS (
        DELETE FROM generations WHERE org_id = $1 AND day >= $2 AND decision = 'control'
          AND abs(hashtext(generation_id::text)) % 10 > 0
        RETURNING generation_id
    )
    DELETE FROM sends s USING gone WHERE s.generation_id = gone.generation_id
"""
FEWER_CLICKS = """
    UPDATE sends SET human_clicks = 0
    WHERE org_id = $1 AND day >= $2 AND abs(hashtext(transmission_id || 'x')) % 4 > 0
"""
CONTROL_STEP = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, synced_at)
    VALUES ($1, 'FLOW01', 'Welcome', 'live', 'c1', 'CTRL', 'Control', $2)
"""
BRANCH = """
    INSERT INTO sends (org_id, transmission_id, profile_id, message_id, sent_at, day, attribution, delivered, bounced,
        unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks)
    SELECT $1, 'B' || at || n, 'b' || at || n, 'CTRL', at, (at AT TIME ZONE 'UTC')::date, 'no_generation', true, false,
        false, false, 1, 0, (n % 20 = 0)::int, 0
    FROM generate_series(1, 100) n, (SELECT $2::timestamptz AS at) a
"""
OPEN_DAY = """
    INSERT INTO result_days (org_id, day) VALUES ($1, ($2::timestamptz AT TIME ZONE 'UTC')::date) ON CONFLICT DO NOTHING
"""


@pytest.fixture
async def history(stage: Stage) -> History:
    """Twelve days of decisions."""
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    await history.days(12, 200)
    return history


async def branch(stage: Stage, history: History, *days_back: int) -> None:
    """Klaviyo's own control branch sent a hundred emails on each of these days."""
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE templates SET control_action_id = 'c1'")
        await connection.execute(CONTROL_STEP, history.org_id, stage.now)
        for back in days_back:
            at = (stage.now - timedelta(days=back)).replace(hour=10)
            await connection.execute(BRANCH, history.org_id, at)
            await connection.execute(OPEN_DAY, history.org_id, at)


async def only_the_branch_is_control(stage: Stage) -> None:
    async with stage.db.transaction() as connection:
        await connection.execute("DELETE FROM sends WHERE copy_id IS NULL AND generation_id IS NOT NULL")
        await connection.execute("DELETE FROM generations WHERE decision = 'control'")


async def test_a_split_that_changed_and_a_branch_of_klaviyos_are_counted_as_the_log_says(
    stage: Stage, rig: Rig, history: History, visitor: Browser
) -> None:
    await branch(stage, history, 30, 20, 2, 1)
    async with stage.db.transaction() as connection:
        since = (stage.now - timedelta(days=6)).date()
        await connection.execute(FEWER_CONTROLS, history.org_id, since)
        await connection.execute(FEWER_CLICKS, history.org_id, since)
    await history.count()

    counted = await rig.run(results.show, dict(ASKED), "viewer")
    said = await make_report(rig.database, rig.org_id, "acme", "welcome", rig.clock.now(), zone_of("Europe/Berlin"))
    [line] = (await rig.run(results.overview, {})).templates
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    page = await visitor.get("/acme/results/welcome")

    for arm, told in (("treatment", counted.treatment), ("control", counted.control)):
        assert {name: getattr(told, name) for name in said["funnel"][arm]} == said["funnel"][arm]
    from_log = said["lift"] if "lift_within" in said["lift"] else said["lift"]["so_far"]
    for lift in (counted.lift, line.lift):
        known = lift.found or lift.so_far
        assert known is not None
        assert [known.lift, *known.lift_within] == pytest.approx([from_log["lift"], *from_log["lift_within"]])
    assert (line.treatment, line.control) == (counted.treatment, counted.control)
    assert (counted.external, counted.uncompared, said["uncompared"]) == (True, 0, 0)
    pooled = counted.treatment.clicked / counted.treatment.delivered / (
        counted.control.clicked / counted.control.delivered
    )  # fmt: skip
    assert abs(pooled - 1 - from_log["lift"]) > 0.05
    assert len(counted.days) == 12
    assert f"{from_log['control'] * 100:.2f}" in page.words
    assert "The arms are compared day by day" in page.words


async def test_the_emails_behind_control_are_those_that_are_counted(stage: Stage, rig: Rig, history: History) -> None:
    await branch(stage, history, 20, 1)
    await only_the_branch_is_control(stage)
    await history.count()

    asked = {**ASKED, "arm": "control", "what": "delivered", "limit": 500}
    found = await rig.run(sends.list_sends, asked)

    assert len(found.sends) == (await rig.run(results.show, dict(ASKED))).control.delivered == 100
    assert {one.day for one in found.sends} == {(stage.now - timedelta(days=1)).date()}


async def test_days_of_one_arm_alone_are_said_to_be_compared_with_nothing(
    stage: Stage, rig: Rig, history: History, visitor: Browser
) -> None:
    await branch(stage, history, 1)
    await only_the_branch_is_control(stage)
    await history.count()

    found = await rig.run(results.show, dict(ASKED))
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    page = await visitor.get("/acme/results/welcome")

    of_that_day = found.days[-1].treatment.delivered
    assert found.uncompared == found.treatment.delivered - of_that_day > 1_000
    assert f"{found.uncompared:,} delivered emails are of days on which the other arm had none" in page.words


async def test_klaviyos_own_branch_is_in_no_segment_and_is_refused_where_it_is_all_of_control(
    stage: Stage, rig: Rig, history: History, visitor: Browser
) -> None:
    await history.count()
    before = await rig.run(results.segments, {**ASKED, "by": "since"})
    await branch(stage, history, 2, 1)
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE result_days SET revision = revision + 1, counted_at = NULL")
    await history.count()

    assert (await rig.run(results.show, dict(ASKED))).external
    assert (await rig.run(results.segments, {**ASKED, "by": "since"})).segments == before.segments

    await only_the_branch_is_control(stage)
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE result_days SET revision = revision + 1, counted_at = NULL")
    await history.count()
    with pytest.raises(Refused, match="Klaviyo's own branch does not tell us attrs"):
        await rig.run(results.segments, {**ASKED, "by": "plan"})
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    page = await visitor.get("/acme/results/welcome?by=plan")
    assert page.status == 200
    assert "Klaviyo's own branch does not tell us attrs" in unescape(page.words)


async def test_a_segment_is_compared_day_by_day_as_everybody_is(stage: Stage, rig: Rig, history: History) -> None:
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE generations SET cell = 'tier=gold'")
        since = (stage.now - timedelta(days=6)).date()
        await connection.execute(FEWER_CONTROLS, history.org_id, since)
        await connection.execute(FEWER_CLICKS, history.org_id, since)
    await history.count()

    everybody = (await rig.run(results.show, dict(ASKED))).lift
    [gold] = (await rig.run(results.segments, {**ASKED, "by": "tier"})).segments
    [nobody] = (await rig.run(results.segments, {**ASKED, "by": "nothing"})).segments

    assert gold.value == "gold"
    assert gold.lift == everybody
    assert nobody.value is None
    assert nobody.lift == everybody
