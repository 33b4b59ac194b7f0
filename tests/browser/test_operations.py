"""The pages of operations in a real browser: how they look when something is there, and what people do on them."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from playwright.async_api import Browser, expect

from shared.clock import SystemClock
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import WRITE
from shared.schemas.copy import Vars
from shared.schemas.jobs import WriteJob, encode_batch, hour_of
from tests.browser.conftest import Visitor, browsing, visitor_of
from tests.support.console import Stage, console
from tests.support.operations import Facts
from tests.support.totals import add_totals

PERSON = "01HZX3PERSONWWWWMMMM000000"  # as wide as an id can be
COPY = Vars("Ada, coffee is on", "Three things to know", "<h1>Hello Ada</h1><p>Thanks for joining our roastery.</p>")
STATEMENTS = (
    "INSERT INTO templates (org_id, template_id, name, state, created_at, updated_at) "
    "VALUES ($1, 'welcome', 'Welcome', 'active', $2, $2)",
    "INSERT INTO export_targets (org_id, bucket, prefix, cadence, created_at, updated_at) "
    "VALUES ($1, 'acme-warehouse', 'justai', 'hourly', $2, $2)",
    "INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key, last_polled_at, listed) "
    "SELECT '00000000-0000-4000-8000-000000000001', $1, 'events', 'sftp.example.com', 'acme', 'k', 's', $2, 3",
    "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at, "
    "rows, rejects, fresh, error) SELECT gen_random_uuid(), $1, '00000000-0000-4000-8000-000000000001', f.path, 10, "
    "$2, f.state, $2, $2, 4, f.rejects, 3, f.error FROM (VALUES ('opens-1.csv', 'done', 1, NULL), "
    "('clicks-1.csv', 'held', 0, 'no column holds the profile'), ('new.csv', 'listed', 0, NULL)) "
    "f (path, state, rejects, error)",
    "INSERT INTO ingest_rejects (org_id, file_id, line, reason, raw) SELECT $1, file_id, 3, 'no profile', 'Opened,,x' "
    "FROM ingest_files WHERE org_id = $1 AND path = 'opens-1.csv' AND last_seen_at = $2",
    "UPDATE klaviyo_accounts SET steady_limit = 700, newest_slot = extract(epoch FROM $2::timestamptz)::bigint, "
    "slots = ARRAY[9, 8, 11, 10] WHERE $1::uuid IS NOT NULL",
)


@browsing
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    """With a broker; Ann owns acme, Cleo may only look."""
    async with console(database_url, SystemClock(), dev=True, amqp_url=amqp_url) as running:
        await running.staff()
        yield running


@browsing
async def facts(stage: Stage) -> Facts:
    """A day of an org in which most went well."""
    found = Facts(stage.db, stage.orgs["acme"], SystemClock().now())
    await found.account()
    for number in range(12):
        await found.generation(f"01RIGHT{number}", ago_s=3000 + number, sent_s=130)
    for number in range(4):
        await found.generation(f"01CONTROL{number}", decision="control", decided="control_split", outcome="cleared")
    await found.generation("01LATE", ago_s=900, outcome="expired", reason="quota")
    await found.generation("01FIELD", ago_s=900, decision="control", decided="field_missing", outcome="cleared")
    await found.generation("01FAST", ago_s=900, written_s=200, sent_s=130)
    await found.generation("01SOON", ago_s=10, outcome=None)
    of = await found.generation(PERSON, ago_s=1200, sent_s=130)
    await found.event(PERSON, "Opened Email", of=of)
    await found.event(PERSON, "Clicked Email", of=of, url="https://shop.example/first?utm_source=klaviyo&a=" + "x" * 80)
    await found.profile(PERSON)
    for statement in STATEMENTS:
        await found.execute(statement, found.org_id, found.now)
    await found.content(of, COPY)
    await found.execute("UPDATE events SET file_id = (SELECT file_id FROM ingest_files LIMIT 1)")
    hour = hour_of(found.now)
    for back in range(1, 60):
        if back % 7:
            await found.exported(hour - timedelta(hours=back))
    await found.exported(hour - timedelta(hours=63), state="blocked", error="access_denied: the bucket refuses us")
    return found


async def bury(amqp_url: str, org_id: UUID, reason: str) -> None:
    at = SystemClock().now()
    job = WriteJob(
        org_id=org_id, generation_id=uuid4(), day=at.date(), profile_id=PERSON, prefix="jai", action="write",
        accepted_at=at, deadline_at=at,
    )  # fmt: skip
    async with open_publisher(amqp_url, "writer", WRITE) as publisher:
        await publisher.bury(WRITE, encode_batch([job]), queue="write", attempt=6, reason=reason, at=at.isoformat())


async def generation_of(stage: Stage, user_id: str) -> str:
    async with stage.db.connection() as connection:
        return str(await connection.fetchval("SELECT generation_id FROM generations WHERE user_id = $1", user_id))


@pytest.mark.long
async def test_full_pages_have_no_fault_that_axe_finds_and_fit_their_screen(
    ann: Visitor, stage: Stage, facts: Facts, amqp_url: str
) -> None:
    for reason in ("profile_not_found", "profile_not_found", "body_too_large"):
        await bury(amqp_url, facts.org_id, reason)
    await add_totals(stage.db)
    paths = {
        "home": "/acme/",
        "live": "/acme/operations",
        "number": "/acme/operations/number?span=24h",
        "letters": "/acme/operations/dead-letters",
        "sources": "/acme/operations/sources",
        "source": "/acme/operations/sources/events",
        "rejects": "/acme/operations/sources/events/rejects?file=opens-1.csv",
        "totals": "/acme/operations/totals",
        "exports": "/acme/operations/exports",
        "loader": "/acme/operations/exports/loaders/duckdb",
        "find": "/acme/operations/people",
        "person": f"/acme/operations/people/{PERSON}",
        "story": f"/acme/operations/generations/{await generation_of(stage, PERSON)}",
        "examples": "/acme/operations/examples?because=quota&shown=control_missed",
        "audit": "/acme/audit",
    }
    later = {
        "home": [ann.page.locator(".share-bar").nth(1), ann.page.locator(".attention-item").first],
        "live": [ann.page.get_by_text("Why deadlines were missed")],
        "story": [ann.page.frame_locator("iframe").locator("p").first],
    }
    faults: dict[str, list[str]] = {}
    for name, path in paths.items():
        faults |= await ann.look(f"ops-{name}", path, *later.get(name, ()))

    assert faults == {}


async def test_the_live_view_reads_itself_again(ann: Visitor, facts: Facts) -> None:
    page = ann.page
    await ann.goes_to("/acme/operations")
    await expect(page.get_by_text("38 of 700 writes used in the last minute")).to_be_visible()
    await facts.execute("UPDATE klaviyo_accounts SET steady_limit = 1234")

    await expect(page.get_by_text("of 1,234 writes used")).to_be_visible(timeout=15_000)


async def test_dead_letters_are_tried_out_and_replayed_one_and_all(
    ann: Visitor, stage: Stage, facts: Facts, amqp_url: str
) -> None:
    for reason in ("profile_not_found", "profile_not_found", "body_too_large"):
        await bury(amqp_url, facts.org_id, reason)
    await bury(amqp_url, stage.orgs["other"], "of_another_org")
    page = ann.page
    await ann.goes_to("/acme/operations/dead-letters")
    await expect(page.get_by_text("of_another_org")).to_have_count(0)

    await page.get_by_role("button", name="Try out of Profile writes profile_not_found").click()
    await expect(page.get_by_text("2 letters of Profile writes would be replayed. Nothing was sent.")).to_be_visible()
    table = page.get_by_role("table", name="Profile writes, body_too_large")
    await table.get_by_text("Replay…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("1 letter of Profile writes went round again, as first attempts.")).to_be_visible()
    await page.get_by_text("Replay all…").click()
    await expect(page.get_by_role("dialog")).to_contain_text("2 letters")
    await page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("2 letters of Profile writes went round again")).to_be_visible()

    await expect(page.get_by_text("No dead letters")).to_be_visible()


async def test_a_persons_story_is_found_by_either_id_and_the_person_deleted_with_the_keyboard(
    ann: Visitor, stage: Stage, facts: Facts
) -> None:
    page, generation_id = ann.page, await generation_of(stage, PERSON)
    await ann.goes_to("/acme/operations/people")
    await page.get_by_label("Klaviyo profile id or generation id").fill("ann@example.com")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("is nobody of whom anything is stored")).to_be_visible()
    await page.get_by_label("Klaviyo profile id or generation id").fill(generation_id)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Why this copy")).to_be_visible()
    await expect(page.get_by_text("70.0 %")).to_be_visible()
    await expect(page.get_by_text("our copy was on the profile in time")).to_be_visible()

    await page.get_by_role("link", name=PERSON).click()
    await page.get_by_text("Delete this person…").focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=f"Delete {PERSON}?")
    await expect(dialog).to_contain_text("1 generation, 1 email, 2 events")
    await ann.shoot("ops-delete-1280-light")
    await page.keyboard.type("01SOMEBODY")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing was saved.")).to_be_visible()
    await page.get_by_text("Delete this person…").click()
    await page.get_by_role("dialog").get_by_label("Type the profile id").fill(PERSON)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Deleted: 1 generation, 1 email, 2 events")).to_be_visible()

    await ann.goes_to(f"/acme/operations/people?q={PERSON}")
    await expect(page.get_by_text("One person").first).to_be_visible()
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM generations WHERE user_id = $1", PERSON) == 0
        assert await connection.fetchval("SELECT clean_at <= $1 FROM profile_state", SystemClock().now())


async def test_a_backfill_shows_how_far_it_is(ann: Visitor, facts: Facts) -> None:
    page = ann.page
    hour = hour_of(facts.now)
    await ann.goes_to("/acme/operations/exports")
    await page.get_by_label("From (UTC)").fill((hour - timedelta(hours=3)).strftime("%Y-%m-%dT%H:00"))
    await page.get_by_label("To (UTC, exclusive)").fill(hour.strftime("%Y-%m-%dT%H:00"))
    await page.get_by_role("button", name="Export the range").click()
    await expect(page.get_by_text("3 objects are there already, with 360 rows: overwritten")).to_be_visible()
    assert await ann.see("ops-ask-back") == {}
    await page.get_by_role("button", name="Export them").click()
    await expect(page.get_by_text("0 of 3 hours exported")).to_be_visible()
    await facts.execute("UPDATE export_hours SET exported_seq = dirty_seq, state = 'exported' WHERE state = 'pending'")

    await expect(page.get_by_text("3 of 3 hours exported")).to_be_visible()
    await expect(page.locator("#progress[hx-get]")).to_have_count(0)


async def test_the_audit_log_is_filtered_and_taken_along(ann: Visitor, facts: Facts) -> None:
    page = ann.page
    for target in ("=cmd()", "welcome"):
        await facts.execute(
            "INSERT INTO audit_log (org_id, at, actor, actor_kind, operation, target, asked, request_id) "
            "VALUES ($1, $2, 'Ann', 'person', $3, $4, '{\"name\": \"hook\"}', 'r')",
            facts.org_id, facts.now, "keys.create" if target == "welcome" else "templates.set", target,
        )  # fmt: skip
    await ann.goes_to("/acme/audit")
    await expect(page.get_by_role("row")).to_have_count(3)
    await page.get_by_label("What").select_option("keys")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("table")).to_contain_text("keys.create")

    await page.get_by_label("What").select_option("")
    await page.get_by_role("button", name="Show", exact=True).click()
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download CSV").click()
    path = await (await coming.value).path()
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [one["target"] for one in rows] == ["welcome", "'=cmd()"]


async def test_without_script_figures_are_a_link_away_and_letters_are_replayed(
    chromium: Browser, stage: Stage, facts: Facts, amqp_url: str
) -> None:
    await bury(amqp_url, facts.org_id, "profile_not_found")
    visitor = await visitor_of(chromium, stage.url, width=390, js=False)
    page = visitor.page
    await visitor.signs_in()
    await page.get_by_role("link", name="Show what needs attention").click()
    await expect(page.get_by_text("1 file of events could not be loaded").first).to_be_visible()
    await visitor.goes_to("/acme/")
    await page.get_by_role("link", name="Show the figures").last.click()
    await expect(page.get_by_text("81.2 % of all meant for it")).to_be_visible()

    await visitor.goes_to("/acme/operations/dead-letters")
    await page.get_by_text("Replay all…").click()
    await page.get_by_role("button", name="Replay", exact=True).first.click()
    await expect(page.get_by_text("1 letter of Profile writes went round again")).to_be_visible()


async def test_who_only_looks_finds_nothing_that_changes_or_names_people(
    chromium: Browser, stage: Stage, facts: Facts
) -> None:
    visitor = await visitor_of(chromium, stage.url)
    page = visitor.page
    await visitor.signs_in("cleo@example.com")
    await visitor.goes_to("/acme/operations/sources/events")

    await expect(page.get_by_text("the oldest since")).to_be_visible()
    await expect(page.get_by_role("button", name="List the folder now")).to_have_count(0)
    await expect(page.get_by_role("link", name="1 rejects of opens-1.csv")).to_have_count(0)
    await visitor.goes_to("/acme/operations")
    await expect(page.get_by_role("link", name="One person")).to_have_count(0)
    await visitor.goes_to("/acme/operations/exports")
    await expect(page.get_by_role("button", name="Export the range")).to_have_count(0)
