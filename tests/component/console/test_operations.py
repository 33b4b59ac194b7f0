"""What the pages of operations show to whom, without a browser; and what they decide."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.console.pages.operations import by_reason
from services.console.pages.operations_attention import attention
from services.console.pages.operations_exports import heat_map, month_of
from services.console.pages.operations_words import advice, moment_of
from services.ingest.shown import Pace, StoredShownCounts
from shared.admin.exports import Hour, Hours
from shared.admin.operations_number import Number, Shows
from shared.admin.outcomes import Pause, Writing
from shared.admin.refused_store import RefusedWebhooks
from shared.admin.sources import Source
from shared.admin.stops import Stop
from shared.clock import FrozenClock
from shared.schemas.copy import Vars
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.operations import Facts

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
CALM = Writing(pause=None, blocked_until=None, blocked_reason=None, writes=0, clears=0, first_deadline_at=None)
FINE = Number(
    hours=24, since=NOW - timedelta(hours=24), as_of=None, right=100,
    control_planned=20, control_missed=1, stale=0, unsure=0, replaced=0, pending=0, seen=90,
    rows=[],
)  # fmt: skip
INSERT_REFUSED = """
    INSERT INTO refused_webhooks (org_id, day, flow_id, code, webhooks, last_at)
    VALUES ($1, $2, 'FLOW01', 'unknown_api_key', $3, $4)
"""
NO_EXPORTS = Hours(target=None, hours=[])


def an_hour(hour: datetime, rows: int, state: str = "exported") -> Hour:
    return Hour.model_validate(
        {"hour": hour, "state": state, "reason": "schedule", "rows": rows, "bytes": 1, "revision": 1,
         "exported_at": hour, "due_at": None, "error": None}
    )  # fmt: skip


def test_nothing_needs_attention_where_all_is_well() -> None:
    assert attention("acme", [], CALM, FINE, [], NO_EXPORTS, NOW) == []


def test_what_is_worst_comes_first() -> None:
    paused = CALM.model_copy(update={"pause": Pause(reason="key_refused", message="401", paused_at=NOW)})
    missed = FINE.model_copy(update={"control_missed": 50})
    stop = Stop(template_id="welcome", stopped_at=NOW, stopped_reason="wrong price")

    found = attention("acme", [stop], paused, missed, [], NO_EXPORTS, NOW)

    assert [one.tone for one in found] == ["bad", "bad", "warn"]
    assert found[0].text == "People get the control content until it is resumed. wrong price."
    assert "66.7 % of emails meant to show our copy did" in found[2].title


REFUSED = RefusedWebhooks("FLOW01", "Welcome", "revoked_api_key", 12, NOW - timedelta(minutes=5))


def test_a_flow_whose_webhooks_are_refused_needs_attention_while_they_come() -> None:
    over = replace(REFUSED, last_at=NOW - timedelta(hours=2))
    nobodys = replace(REFUSED, flow_id="", flow_name=None)

    [one] = attention("acme", [], CALM, FINE, [], NO_EXPORTS, NOW, [REFUSED, over, nobodys])

    assert (one.tone, one.title) == ("bad", "Webhooks of Welcome are refused")
    assert one.text == ("12 webhooks within two days, because their X-Api-Key was revoked. Klaviyo skips their people.")
    assert one.path == "/acme/troubleshooting"


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


def test_a_source_without_new_files_for_too_long_needs_attention() -> None:
    source = Source(
        source_id=uuid4(), name="events", kind="sftp", place="u@h:22", bucket="", region="", endpoint_url="",
        access_key="", host="h", port=22, username="u", path=".", pattern="*", host_key="k",
        poll_s=60, enabled=True, mapping=None, last_polled_at=NOW, listed=3, ignored=0, last_error=None,
        last_error_at=None,
        refused_at=None, done=3, troubled=0, waiting=0, waiting_since=None, silent_since=NOW - timedelta(hours=60),
        usual_gap_s=86_400,
    )  # fmt: skip

    [one] = attention("acme", [], CALM, FINE, [source], NO_EXPORTS, NOW)

    assert (one.title, one.path) == ("No new file in events for 60 hours", "/acme/operations/sources/events")
    assert "usually come within 24.0 hours of each other" in one.text
    assert attention("acme", [], CALM, FINE, [source.model_copy(update={"silent_since": None})], NO_EXPORTS, NOW) == []


def test_a_fault_is_said_as_what_it_is() -> None:
    [one] = attention("acme", [], CALM, FINE.model_copy(update={"right": 1000, "stale": 1}), [], NO_EXPORTS, NOW)

    assert (one.tone, one.title) == ("bad", "1 email showed an older copy within 24 hours")


def test_reasons_are_told_once_for_all_templates() -> None:
    rows = [
        Shows(template_id=f"t{n}", shown="right", because="written", emails=10 - n, seen=0, means="", do="nothing")
        for n in range(5)
    ]
    late = Shows(template_id="t0", shown="control_missed", because="quota", emails=50, seen=0, means="", do="wait")

    first, second = by_reason([*rows, late])

    assert (first.first.because, first.emails, second.emails) == ("quota", 50, 40)
    assert ([one.template_id for one in second.templates], second.more) == (["t0", "t1", "t2"], 2)


def test_templates_that_are_not_named_are_counted_with_their_reason() -> None:
    rows = [
        Shows(template_id=name, shown="right", because="written", emails=emails, seen=0, templates=templates, means="",
              do="nothing")
        for name, emails, templates in (("", 500, 40), ("t1", 300, 1), ("t2", 200, 1))
    ]  # fmt: skip

    [one] = by_reason(rows)

    assert (one.emails, [named.template_id for named in one.templates], one.more) == (1000, ["t1", "t2"], 40)
    assert one.first.template_id == "t1"


def test_the_heat_map_has_every_hour_of_every_day_so_far() -> None:
    first = month_of("2026-11", NOW)
    hours = [an_hour(first, 0), an_hour(first + timedelta(hours=1), 10), an_hour(first + timedelta(hours=2), 1000)]

    days = heat_map(hours, first, datetime(2026, 12, 1, tzinfo=UTC), NOW)

    assert (len(days), days[0][0].day, days[-1][0].day) == (23, 23, 1)
    assert [cell.look for cell in days[-1][1][:4]] == ["exported l0", "exported l1", "exported l4", "none"]
    assert [cell.look for cell in days[0][1][10:12]] == ["none", "to-come"]


@pytest.mark.parametrize("text", ["", "november", "2026-13", "2026-11-01"])
def test_what_is_no_month_is_this_month(text: str) -> None:
    assert month_of(text, NOW) == datetime(2026, 11, 1, tzinfo=UTC)


def test_advice_names_the_org_and_runs_nothing() -> None:
    assert advice("`justai quota ORG` <b>", "acme") == "<code>justai quota acme</code> &lt;b&gt;"
    assert moment_of("yesterday") is None


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


async def test_the_audit_log_says_in_words_what_was_done(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await visitor.post("/acme/keys", name="webhook", kind="generate")

    said = (await visitor.get("/acme/audit")).words

    assert "Create an API key keys.create" in said


COPY = Vars("Hi <b>Ada</b>, coffee is on", "Three things", "<h1>Hello Ada</h1><p>Beans.</p>")
INSERT_WELCOME = """
    INSERT INTO templates (org_id, template_id, name, created_at, updated_at) VALUES ($1, 'welcome', 'Welcome', $2, $2)
"""


async def a_shown_one(stage: Stage) -> UUID:
    """A generation whose copy is stored, with an email that was opened and clicked; and one without."""
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.execute(INSERT_WELCOME, facts.org_id, facts.now)
    generation_id = await facts.generation("01PERSON", sent_s=130)
    await facts.content(generation_id, COPY)
    await facts.event("01PERSON", "Opened Email", of=generation_id)
    await facts.event("01PERSON", "Clicked Email", of=generation_id, url="https://shop.example/beans?a=1&b=2")
    await facts.told_by("out/2026-11-23.csv")
    return generation_id


async def test_a_story_tells_the_copy_as_it_was_rendered_and_each_event_with_its_line(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    path = f"/acme/operations/generations/{await a_shown_one(stage)}"

    story, frame = await visitor.get(path), await visitor.get(f"{path}/email")

    assert "Subject Hi &lt;b&gt;Ada&lt;/b&gt;, coffee is on Preview text Three things" in story.words
    assert f'sandbox="" src="{path}/email"' in story.html
    assert re.search(
        r"Clicked Email https://shop\.example/beans\?a=1&amp;b=2 events out/2026-11-23\.csv line 12", story.words
    )
    assert re.search(r"Drawn number 0\.\d{6}", story.words)
    assert COPY.body in frame.html
    assert frame.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


async def test_what_one_person_got_is_for_editors_alone(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Cleo", acme="reviewer"))
    path = f"/acme/operations/generations/{await a_shown_one(stage)}"

    assert [(await visitor.get(one)).status for one in (path, f"{path}/email")] == [403, 403]


async def test_a_story_without_copy_says_what_the_email_shows(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    control = await facts.generation("01A", decision="control", decided="control_split", outcome="cleared")
    damaged = await facts.generation("01B")

    of_control = await visitor.get(f"/acme/operations/generations/{control}")
    of_damaged = await visitor.get(f"/acme/operations/generations/{damaged}")

    assert "No copy was rendered: the email shows the control content that its snippet holds." in of_control.words
    assert "what is stored of it cannot be read" in of_damaged.words
    assert (await visitor.get(f"/acme/operations/generations/{control}/email")).status == 404


async def test_a_reason_leads_to_its_newest_examples_and_each_to_its_story(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    late = [await facts.generation(f"01LATE{n}", ago_s=900 - n, outcome="expired", reason="quota") for n in range(22)]
    await facts.generation("01FINE")
    path = "/acme/operations/examples?because=quota&amp;shown=control_missed&amp;"

    number = await visitor.get("/acme/operations/number?span=24h")
    page = await visitor.get("/acme/operations/examples?because=quota&shown=control_missed&span=24h")
    checks = await visitor.get("/acme/troubleshooting")

    assert f'href="{path}span=24h"' in number.html
    assert f'href="{path}template_id=welcome&amp;span=24h"' in number.html
    assert "The newest 20" in page.words
    assert re.findall(r"01LATE\d+", page.words)[0] == "01LATE21"
    assert f'href="/acme/operations/generations/{late[21]}"' in page.html
    assert (str(late[0]) in page.html, "01FINE" in page.html) == (False, False)
    assert '<a href="/acme/operations/examples?because=quota&amp;span=7d">See examples' in checks.html


async def test_examples_are_for_editors_and_of_reasons_alone(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Cleo", acme="viewer", other="editor"))
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation("01LATE", outcome="expired", reason="quota")

    assert (await visitor.get("/acme/operations/examples?because=quota")).status == 403
    assert "operations/examples" not in (await visitor.get("/acme/operations/number")).html
    assert "operations/examples" not in (await visitor.get("/acme/troubleshooting")).html
    assert (await visitor.get("/other/operations/examples")).status == 404
    assert (await visitor.get("/other/operations/examples?because=quota&shown=nonsense")).status == 404
    assert "No examples" in (await visitor.get("/other/operations/examples?because=quota")).words


async def test_a_person_of_another_org_is_not_found(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    other = Facts(stage.db, stage.orgs["other"], stage.now)
    generation_id = await other.generation("01PERSON")

    by_person = await visitor.get("/acme/operations/people?q=01PERSON")
    by_path = await visitor.get("/acme/operations/people/01PERSON")
    by_generation = await visitor.get(f"/acme/operations/generations/{generation_id}")
    deleted = await visitor.post("/acme/operations/people/01PERSON/delete", user_id="01PERSON")

    assert (by_person.status, by_path.status, by_generation.status, deleted.status) == (422, 404, 404, 404)
    assert "is nobody of whom anything is stored" in by_person.words
    assert "Nothing is stored of a person &#39;01PERSON&#39;; an id is that of the Klaviyo profile" in by_path.words
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM generations") == 1


async def test_a_story_leads_to_its_events_and_each_says_what_it_counts_for(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="editor"))
    facts = Facts(stage.db, stage.orgs["acme"], stage.now)
    generation_id = await facts.generation("01PERSON", sent_s=130)
    await facts.event("01PERSON", "Opened Email", of=generation_id)
    async with stage.db.connection() as connection:
        event_id = await connection.fetchval("SELECT event_id FROM events")

    story = await visitor.get(f"/acme/operations/generations/{generation_id}")
    event = await visitor.get(f"/acme/operations/events/{event_id}")
    nothing = await visitor.get("/acme/operations/events/EV-NONE")

    assert f"/acme/operations/events/{event_id}" in story.html
    assert "Counts as an open by a" in event.words
    assert f"/acme/operations/generations/{generation_id}" in event.html
    assert nothing.status == 404


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
