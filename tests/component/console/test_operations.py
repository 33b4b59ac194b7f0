"""What the pages of operations show to whom, without a browser."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from services.ingest.counting.shown import Pace, StoredShownCounts
from shared.clock import FrozenClock
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.operations import Facts
from tests.support.templates import make_template

INSERT_REFUSED = """
    INSERT INTO refused_webhooks (org_id, day, flow_id, code, webhooks, last_at)
    VALUES ($1, $2, 'FLOW01', 'unknown_api_key', $3, $4)
"""
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, $2, 'Mail ' || $2::text, $3, $4, $4)
"""
SERVED = (
    ("acme", "welcome", "active"),
    ("acme", "old", "archived"),
    ("acme", "bare", "active"),
    ("other", "x", "active"),
)
INSERT_APPROVED = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, gen_random_uuid(), $2, 'A', $3, now(), now())
"""
INSERT_FIT = "INSERT INTO policy_fits (org_id, template_id, epoch, driven_away) VALUES ($1, $2, 1, $3)"

# Files that came hourly until some hours ago, and a listing just now.
INSERT_HOURLY = """
    WITH made AS (
        INSERT INTO sources (source_id, org_id, name, kind, last_polled_at)
        VALUES (gen_random_uuid(), $1, $2, 'folder', $3) RETURNING source_id
    )
    INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at)
    SELECT gen_random_uuid(), $1, source_id, ago || '.csv', 1, $3, 'done', $3 - ago * interval '1 hour', $3
    FROM made, generate_series($4::int, $4 + 7) AS ago
"""


async def test_refused_webhooks_of_this_org_alone_are_on_its_home(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    async with stage.db.transaction() as connection:
        for slug, count in (("acme", 3), ("other", 99)):
            at = datetime.now(UTC)
            await connection.execute(INSERT_REFUSED, stage.orgs[slug], at.date(), count, at)

    words = (await visitor.get("/acme/operations/attention")).words

    assert "Webhooks of FLOW01 are refused" in words
    assert "3 webhooks within two days, because their X-Api-Key is a key that does not exist" in words
    assert "99" not in words


async def test_templates_by_which_people_leave_are_told_while_they_are_served(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    async with stage.db.transaction() as connection:
        for slug, template_id, state in SERVED:
            await connection.execute(INSERT_TEMPLATE, stage.orgs[slug], template_id, state, datetime.now(UTC))
            await connection.execute(INSERT_FIT, stage.orgs[slug], template_id, f"{template_id}: 10.00% against 0.30%")
            standing = "archived" if template_id == "bare" else "approved"  # obeyed: nothing is left to leave by
            await connection.execute(INSERT_APPROVED, stage.orgs[slug], template_id, standing)

    words = (await visitor.get("/acme/operations/attention")).words

    assert "More people leave by Mail welcome than by its control" in words
    assert "welcome: 10.00% against 0.30%" in words
    assert "Mail old" not in words
    assert "Mail bare" not in words
    assert "Mail x" not in words


async def test_an_open_page_that_asks_itself_does_not_keep_a_session_alive(
    stage: Stage, visitor: Browser, wall: FrozenClock
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    script = {"HX-Request": "true"}

    for _ in range(2):
        wall.advance(16 * 60)
        polled = await visitor.get("/acme/operations/live", script)

    assert (polled.status, polled.headers.get("HX-Redirect")) == (204, "/_sign-in")


async def test_a_backfill_is_counted_on_its_page_before_anything_is_asked_for(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await visitor.post("/acme/integration/export", bucket="records")
    facts = Facts(stage.db, stage.orgs["acme"], stage.now)
    hour = stage.now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    await facts.execute("SELECT ensure_partition('generations', $1)", hour.date())
    await facts.exported(hour)

    page = await visitor.post(
        "/acme/operations/exports/backfill", start=hour.isoformat(), end=stage.now.isoformat(), count="true"
    )

    assert page.status == 200
    assert "1 of them are in the bucket and would be overwritten, with 120 rows and 48,000 bytes" in page.words
    async with stage.db.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM export_hours WHERE dirty_seq > exported_seq") == 0


async def test_letters_say_so_when_the_broker_is_away(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))

    page = await visitor.get("/acme/operations/dead-letters")

    assert (page.status, "The message broker does not answer" in page.words) == (503, True)


async def test_a_whole_org_is_stopped_with_its_reason_and_resumed(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))

    offered = (await visitor.get("/acme/operations")).words
    await visitor.post("/acme/operations/stop", reason="wrong price")
    stopped = await visitor.get("/acme/operations")
    home = (await visitor.get("/acme/")).words
    await visitor.post("/acme/operations/resume")
    resumed = (await visitor.get("/acme/operations")).words

    assert "Stop all templates of" in offered
    assert "The org is stopped: wrong price." in stopped.words
    assert "Stop everything" not in stopped.words
    assert "This org is stopped" in home
    assert "The stop is over" in resumed
    assert "The org is stopped" not in resumed


async def test_what_is_stopped_or_paused_leads_to_where_that_is_ended(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    await make_template(stage, "acme")
    await visitor.post("/acme/templates/welcome/stop", reason="<wrong> price")
    async with stage.db.transaction() as connection:
        await connection.execute(
            "INSERT INTO write_pauses (org_id, account_key, reason, message, paused_at) "
            "VALUES ($1, 'acct:A', 'key_refused', '401.', $2)",
            stage.orgs["acme"], stage.now,
        )  # fmt: skip

    live = await visitor.get("/acme/operations")

    assert '<a href="/acme/templates/welcome">welcome</a> is stopped: &lt;wrong&gt; price.' in live.html
    assert 'Store a new private key in <a href="/acme/integration">Org Integration Settings</a>' in live.html


async def test_who_only_looks_cannot_stop_an_org(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Vic", acme="viewer"))

    page = (await visitor.get("/acme/operations")).words

    assert "Stop everything" not in page
    assert (await visitor.post("/acme/operations/stop")).status == 403


async def test_without_a_source_an_owner_is_led_to_its_form(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    owner = (await visitor.get("/acme/operations/sources")).html
    await visitor.sign_in(await stage.person("Vic", acme="viewer"))
    viewer = (await visitor.get("/acme/operations/sources")).html

    link = ">Add a source</a>"
    assert (link in owner, link in viewer) == (True, False)
    assert "No source of event files yet" in viewer


async def test_a_source_that_has_fallen_silent_is_not_said_to_be_well(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    async with stage.db.transaction() as connection:
        for name, ends_h in (("well", 0), ("silent", 5)):
            await connection.execute(INSERT_HOURLY, stage.orgs["acme"], name, datetime.now(UTC), ends_h)

    listed = await visitor.get("/acme/operations/sources")
    well, silent = [(await visitor.get(f"/acme/operations/sources/{name}")).words for name in ("well", "silent")]

    settings = (await visitor.get("/acme/integration/sources")).words
    assert [state in listed.words for state in ("Reading", "Silent")] == [True, True]
    assert [state in settings for state in ("Reading", "Silent")] == [True, True]
    assert "longer than usual" not in well
    assert "longer than usual; does whoever puts them there still run?" in silent


async def test_the_audit_log_says_in_words_what_was_done(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await visitor.post("/acme/keys", name="webhook", kind="generate")

    said = (await visitor.get("/acme/audit")).words

    assert "Create an API key keys.create" in said


async def test_today_begins_at_midnight_in_the_zone_of_the_org(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation("01NOW", ago_s=1, outcome=None)
    await facts.generation("01BEFORE", ago_s=25 * 3600)

    today = await visitor.get("/acme/operations/number?span=today")
    week = await visitor.get("/acme/operations/number?span=7d")

    assert "Our copy was on the profile in time" not in today.words
    assert "our copy was on the profile in time" in week.words


async def test_the_number_says_when_it_was_counted_where_it_is_behind(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    now = datetime.now(UTC)
    facts = Facts(stage.db, stage.orgs["acme"], now)
    await facts.generation("01A")
    counts = StoredShownCounts(stage.db, uuid4, Pace(timedelta(5), timedelta(0), timedelta(0), timedelta(1)))
    await counts.take_marks(now)
    while await counts.count_quarter(now):
        pass

    exact = await visitor.get("/acme/operations/number?span=24h")
    await facts.generation("01B")
    behind = await visitor.get("/acme/operations/number?span=24h")

    assert "is being counted" not in exact.words
    assert "what has changed since is being counted" in behind.words
    assert "0 of 1 are confirmed" in behind.words
