"""Results from counts that are kept ahead: the same as the log says, on pages, in files and over the API."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from shared.admin.errors import NotFound, Refused
from shared.admin.orgs import orgs
from shared.admin.results import policies, results, what_if
from shared.admin.results.report import make_report
from shared.schemas.ids import generation_day
from shared.zones import zone_of
from tests.component.admin.rig import Rig
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.results import COPIES, NAMES, History

ASKED: Mapping[str, Any] = {"template_id": "welcome"}


@pytest.fixture
async def history(stage: Stage) -> History:
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    await history.days(12, 200)
    await history.policies(12)
    await history.count()
    return history


async def test_counts_say_what_the_log_says(rig: Rig, history: History) -> None:
    counted = await rig.run(results.show, dict(ASKED), "viewer")
    said = await make_report(rig.database, rig.org_id, "acme", "welcome", rig.clock.now(), zone_of("UTC"))

    for arm, told in (("treatment", counted.treatment), ("control", counted.control)):
        assert {name: getattr(told, name) for name in said["funnel"][arm]} == said["funnel"][arm]
    assert counted.treatment.delivered > 1000
    known = counted.lift.found or counted.lift.so_far
    from_log = said["lift"] if "lift_within" in said["lift"] else said["lift"]["so_far"]
    assert known is not None
    assert list(known.lift_within) == pytest.approx(from_log["lift_within"])


async def test_the_last_day_shows_the_lift_of_all_and_days_add_up(rig: Rig, history: History) -> None:
    found = await rig.run(results.show, dict(ASKED))

    assert len(found.days) == 12
    assert sum(day.treatment.clicked for day in found.days) == found.treatment.clicked
    assert found.days[-1].lift_so_far == (found.lift.found or found.lift.so_far)
    assert [one.copy_id for one in found.variants] == [
        copy_id for _, copy_id in sorted(zip(NAMES, COPIES, strict=True))
    ]
    assert sum(sum(day.sends) for day in found.days) == found.treatment.delivered


async def test_machines_and_bots_are_told_apart_from_people(rig: Rig, history: History) -> None:
    arm = (await rig.run(results.show, dict(ASKED))).treatment

    assert arm.opened > 0 < arm.machine_opened
    assert arm.opened + arm.machine_opened <= arm.delivered
    assert arm.bot_clicked > 0


async def test_segments_add_up_to_everybody_and_who_said_nothing_is_one(rig: Rig, history: History) -> None:
    everybody = await rig.run(results.show, dict(ASKED))
    plan = await rig.run(results.segments, {**ASKED, "by": "plan"})
    since = await rig.run(results.segments, {**ASKED, "by": "since"})

    assert sorted(one.value or "" for one in plan.segments) == ["free", "pro", "trial"]
    assert {one.value for one in since.segments} == {None, "2026"}
    for found in (plan, since):
        assert sum(one.treatment.delivered for one in found.segments) == everybody.treatment.delivered
        assert sum(one.control.clicked for one in found.segments) == everybody.control.clicked
    assert everybody.attrs == ["plan", "since"]


async def test_small_numbers_are_not_enough_yet(stage: Stage, rig: Rig) -> None:
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    await history.days(1, 20)
    await history.count()

    found = await rig.run(results.show, dict(ASKED))

    assert found.lift.outcome == "not enough yet"
    assert found.lift.found is None
    assert found.lift.so_far is None
    assert found.report is not None
    assert {one.click_rate.outcome for one in found.report.variants} == {"not enough yet"}


async def test_how_long_is_told_from_what_was_seen(rig: Rig, history: History) -> None:
    long = await rig.run(results.how_long, {"template_id": "welcome", "lift": 0.15})
    short = await rig.run(results.how_long, {"template_id": "welcome", "lift": 0.5})

    assert long.sends is not None
    assert short.sends is not None
    assert long.sends > short.sends
    assert long.per_day == pytest.approx(long.sends_so_far / 12, rel=0.02)  # each day has about the same share
    with pytest.raises(Refused):
        await rig.run(results.how_long, {"template_id": "welcome", "lift": 0})


async def test_shares_of_policies_are_told_day_by_day(rig: Rig, history: History) -> None:
    found = await rig.run(policies.shares, dict(ASKED))

    first = [one.name for one in found.variants].index("Warm welcome")
    course = [day.shares[first] for day in found.days]
    assert len(course) == 12
    assert course == sorted(course, key=lambda share: share or 0)


INSERT_EACH_HALF_HOUR = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, property_prefix, written_for, cell, eligible, probabilities)
    SELECT $2::date, gen_random_uuid(), $1, 'welcome', 'p' || n, 'u.f.a', at, at, at, 'control', 'control_split', 'jai',
        'w.f.a', 'plan=pro', '{}', '{}'
    FROM generate_series(0, 47) n,
        LATERAL (SELECT $2::date::timestamp AT TIME ZONE 'UTC' + n * interval '30 min' AS at) a
"""
# By PostgreSQL's own list of zones.
SELECT_EACH_DAY = """
    SELECT (accepted_at AT TIME ZONE $1)::date AS day, count(*) FROM generations GROUP BY 1 ORDER BY 1
"""
ZONES = ("Europe/Berlin", "Asia/Kolkata", "America/New_York", "Pacific/Auckland", "UTC")
TURNS_OF_CLOCKS = (date(2026, 3, 29), date(2026, 10, 25))


async def test_days_are_those_of_the_orgs_own_zone_and_follow_it_to_another(stage: Stage, rig: Rig) -> None:
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    async with stage.db.transaction() as connection:
        for day in (turn + timedelta(days=by) for turn in TURNS_OF_CLOCKS for by in (-1, 0, 1)):
            await connection.execute("SELECT ensure_partition('generations', $1)", day)
            await connection.execute(INSERT_EACH_HALF_HOUR, history.org_id, day)
            await connection.execute("INSERT INTO result_days (org_id, day) VALUES ($1, $2)", history.org_id, day)
    asked = {**ASKED, "since": "2026-03-01", "until": "2026-11-20"}

    for zone in ZONES:
        await rig.run(orgs.set_zone, {"time_zone": zone}, "editor")
        waiting = (await rig.run(results.show, asked)).waiting
        history = replace(history, now=history.now + timedelta(minutes=1))
        await history.count()
        found = await rig.run(results.show, asked)
        async with stage.db.connection() as connection:
            told = {row["day"]: row["count"] for row in await connection.fetch(SELECT_EACH_DAY, zone)}

        assert waiting == 6
        assert (found.waiting, found.time_zone) == (0, zone)
        assert {day.day: day.control.assigned for day in found.days} == told
        one = await rig.run(results.segments, {**asked, "since": "2026-10-25", "until": "2026-10-25", "by": "plan"})
        assert [segment.control.assigned for segment in one.segments] == [told[date(2026, 10, 25)]]
        if zone == "Europe/Berlin":
            assert [told[turn] for turn in TURNS_OF_CLOCKS] == [46, 50]


async def test_another_org_sees_nothing_of_them(rig: Rig, history: History, stage: Stage) -> None:
    other = Rig(stage.db, stage.orgs["other"], "other")
    other.clock.at = stage.now

    with pytest.raises(NotFound):
        await other.run(results.show, dict(ASKED))
    with pytest.raises(NotFound):
        await other.run(results.segments, {**ASKED, "by": "plan"})
    with pytest.raises(NotFound):
        await other.run(policies.shares, dict(ASKED))
    assert (await other.run(results.overview, {})).templates == []


async def test_a_page_its_files_and_the_api_say_the_same(
    stage: Stage, rig: Rig, history: History, visitor: Browser
) -> None:
    await stage.person("Ann", acme="viewer")
    await visitor.sign_in("ann@example.com")
    found = await rig.run(results.show, dict(ASKED))

    page = await visitor.get("/acme/results/welcome?by=plan")
    days = await visitor.get("/acme/results/welcome/table/days.csv")
    answer = await rig.ask("GET", "/api/v1/orgs/acme/templates/welcome/results", rig.actor("viewer"))

    assert page.status == 200
    assert f"{found.treatment.delivered:,}" in page.words
    assert "Warm welcome" in page.words
    assert "choose the first day and stay with it" in page.words
    assert "tells no attrs" not in page.words
    lines = days.html.splitlines()
    assert days.headers["Content-Disposition"] == 'attachment; filename="welcome-days.csv"'
    assert len(lines) == 1 + len(found.days)
    assert lines[0].startswith("day (Europe/Berlin),")
    assert answer.body["treatment"]["delivered"] == found.treatment.delivered
    for name in ("lift", "variants", "shares", "segments"):
        file = await visitor.get(f"/acme/results/welcome/table/{name}.csv?by=plan")
        assert (file.status, len(file.html.splitlines()) > 3) == (200, True)


async def test_themes_are_compared_on_the_page_in_a_file_and_over_the_api(
    stage: Stage, rig: Rig, visitor: Browser
) -> None:
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    await history.days(3, 400)
    await history.count()
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    assert "Themes" not in (await visitor.get("/acme/results/welcome")).words

    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE variants SET theme = 'Warmth' WHERE name = ANY ($1::text[])", NAMES[:2])
        await connection.execute("UPDATE result_reports SET revision = revision + 1")
    await replace(history, now=stage.now + timedelta(hours=1)).count()
    page = await visitor.get("/acme/results/welcome")
    file = (await visitor.get("/acme/results/welcome/table/themes.csv")).html.splitlines()
    answer = await rig.ask("GET", "/api/v1/orgs/acme/templates/welcome/results/themes", rig.actor("viewer"))

    warmth, none = answer.body["themes"]
    assert (warmth["theme"], warmth["variants"], warmth["click_rate"]["outcome"]) == ("Warmth", 2, "estimated")
    assert none["theme"] is None
    assert warmth["assigned"] + none["assigned"] == (await rig.run(results.show, dict(ASKED))).treatment.assigned
    assert f"Warmth 2 {warmth['assigned']:,} {warmth['delivered']:,}" in page.words
    assert "No theme" in page.words
    assert [line.split(",")[0] for line in file] == ["theme", "Warmth", "(none)"]
    assert file[0].endswith("as_of (Europe/Berlin)")


COUNTED = {"metrics": ["Placed Order"], "refunds": [], "window_h": 72, "currency": None}


async def test_a_shipped_template_shows_its_weeks_conversions_and_pauses_with_their_files(
    stage: Stage, visitor: Browser
) -> None:
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    async with stage.db.connection() as connection:
        await connection.execute("UPDATE templates SET state = 'shipped', conversions = $1", COUNTED)
        shipped_at = stage.now - timedelta(days=9)
        await connection.execute("UPDATE templates SET shipped_at = $1, conversions_stale = false", shipped_at)
    await history.days(12, 200)
    await history.pause()
    await history.count()
    await visitor.sign_in(await stage.person("Cleo", acme="viewer"))

    page = await visitor.get("/acme/results/welcome")
    files = {
        name: (await visitor.get(f"/acme/results/welcome/table/{name}.csv")).html.splitlines()
        for name in ("weeks", "conversions", "guardrail")
    }

    assert "Since it was shipped" in page.words
    assert "Lift in clicks of each week since it was shipped, by itself" in page.words
    assert "Conversions, by variant" in page.words
    assert len(files["weeks"]) >= 2
    assert files["weeks"][1].startswith("1,")
    assert [line.split(",")[:2] for line in files["conversions"][1:3]] == [["arm", "treatment"], ["arm", "control"]]
    assert {line.split(",")[1] for line in files["conversions"][3:]} <= set(NAMES)
    assert [line.split(",")[1:3] for line in files["guardrail"][1:]] == [
        ["Story first", "resumed"],
        ["Story first", "paused"],
    ]
    for name in files:
        assert f"/table/{name}.csv" in page.html


async def test_what_if_is_answered_and_a_wrong_share_is_named(stage: Stage, history: History, visitor: Browser) -> None:
    await stage.person("Ann", acme="viewer")
    await visitor.sign_in("ann@example.com")

    good = await visitor.get("/acme/results/welcome/what-if?policy=uniform")
    bad = await visitor.get("/acme/results/welcome/what-if?policy=fixed&shares=Nobody%3D1")

    assert good.status == 200
    assert "What was sent had" in good.words
    assert bad.status == 422
    assert "there is no variant" in bad.words


async def test_a_log_that_is_too_long_to_wait_for_is_refused_with_its_limit(
    stage: Stage, rig: Rig, history: History, visitor: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    asked = {**ASKED, "policy": "uniform"}
    url = "/api/v1/orgs/acme/templates/welcome/results/what-if"

    monkeypatch.setattr(what_if, "READ_S", 0.0)
    slow = await rig.ask("GET", url, rig.actor("viewer"), params={"policy": "uniform"})
    monkeypatch.setattr(what_if, "READ_S", 20.0)
    async with stage.db.connection() as connection:
        await connection.execute("UPDATE result_counts SET assigned = 1000000 WHERE attr = ''")
    with pytest.raises(Refused) as many:
        await rig.run(what_if.what_if, asked)
    page = await visitor.get("/acme/results/welcome/what-if?policy=uniform&days=30")

    assert (slow.status, slow.error["code"], slow.error["field"]) == (422, "too_much", "since")
    assert "could not be read within 0 s; ask for fewer days" in slow.error["message"]
    assert "decisions since then, and at most 2,000,000 are read here; ask for fewer days" in str(many.value)
    assert page.status == 422
    assert "Days go too far back: there are" in page.words


async def test_a_sample_ratio_that_is_wrong_is_the_first_thing_said(
    stage: Stage, history: History, visitor: Browser
) -> None:
    async with stage.db.connection() as connection:
        await connection.execute("UPDATE templates SET control_ratio = 0.5")
        await connection.execute("UPDATE result_reports SET revision = revision + 1, as_of = NULL")
    await history.count()
    await stage.person("Ann", acme="viewer")
    await visitor.sign_in("ann@example.com")

    words = (await visitor.get("/acme/results/welcome")).words

    assert "The split is not what was planned" in words
    assert "Was the split changed in these 90 days?" in words
    assert "Do not ship or archive by these numbers" in words
    assert "Sample ratio alarm" in (await visitor.get("/acme/results")).words


async def test_a_span_in_no_order_is_refused_and_says_so(rig: Rig, history: History) -> None:
    today = generation_day(rig.clock.now())
    with pytest.raises(Refused):
        await rig.run(results.show, {**ASKED, "since": today, "until": today - timedelta(days=1)})
    with pytest.raises(Refused):
        await rig.run(results.show, {**ASKED, "since": today + timedelta(days=1)})


async def test_archiving_the_last_approved_variant_says_that_everybody_gets_control(
    stage: Stage, history: History, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    several = (await visitor.get("/acme/results/welcome")).words
    async with stage.db.connection() as connection:
        await connection.execute("UPDATE variants SET state = 'archived' WHERE name <> $1", NAMES[0])
    last = (await visitor.get("/acme/results/welcome")).words

    assert "It can come back" in several
    assert "the last approved variant" not in several
    assert last.count("It is the last approved variant: from the next webhook on everybody gets the control") == 1


async def test_the_page_says_that_klaviyo_s_own_branch_is_compared_without_attrs(
    stage: Stage, history: History, visitor: Browser
) -> None:
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE result_counts SET external = true WHERE control")
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))

    words = (await visitor.get("/acme/results/welcome")).words

    assert "Klaviyo's own branch tells no attrs." in words
    assert "all of treatment with control day by day" in words
