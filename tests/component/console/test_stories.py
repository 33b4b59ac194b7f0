"""From a number of operations to examples, to the story of one person's copy, to its events; and who may read them."""

import re
from datetime import UTC, datetime
from uuid import UUID

from shared.schemas.copy import Vars
from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.operations import Facts

COPY = Vars("Hi <b>Ada</b>, coffee is on", "Three things", "<h1>Hello Ada</h1><p>Beans.</p>")
INSERT_WELCOME = """
    INSERT INTO templates (org_id, template_id, name, created_at, updated_at) VALUES ($1, 'welcome', 'Welcome', $2, $2)
"""


async def a_shown_one(stage: Stage) -> UUID:
    """A generation whose copy is stored, with an email that was opened and clicked."""
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


async def test_a_wrong_id_deletes_nobody_and_is_told_on_the_page_not_in_its_closed_dialog(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    await Facts(stage.db, stage.orgs["acme"], stage.now).generation("01PERSON")

    wrong = await visitor.post("/acme/operations/people/01PERSON/delete", user_id="01PERSONS")

    assert wrong.status == 422
    assert "Nothing was saved. What was typed is not the id of this person." in wrong.words
    assert 'class="error"' not in wrong.html
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
