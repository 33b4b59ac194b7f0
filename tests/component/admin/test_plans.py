"""What people ask for finds its rows by key, even by plans that were made while the tables were empty.

They are so on a new server, and today's parts of them in the first minutes of every day, until they are analyzed. A
plan from then takes every index that begins with the org for as good as any other, and is kept as long as its
connection: one email was found by reading all emails of the org.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shared.admin.checks import refused_store
from shared.admin.person.why_store import WhyStore
from shared.admin.results import sends
from shared.admin.sources import tracing
from shared.db.pool import open_database
from tests.component.admin.rig import Rig, new_org
from tests.support.operations import Facts
from tests.support.rows_read import rows_read

OFTEN = 7  # a connection keeps one plan for all values from the sixth use of a statement on
OTHERS = 3000

INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, created_at, updated_at) VALUES ($1, 'welcome', 'Welcome', $2, $2)
"""
# As there is one of each: a generation, its email and the event that tells of it.
INSERT_GENERATIONS = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, property_prefix, written_for)
    SELECT day, gen_random_uuid(), org_id, template_id, 'P' || n, 't', accepted_at, deadline_at, clean_at, decision,
        reason, property_prefix, written_for
    FROM generations, generate_series(1, $1::int) n
"""
INSERT_SENDS = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks)
    SELECT s.org_id, 'T' || g.generation_id, g.user_id, s.sent_at, s.day, 'message', g.generation_id, g.day,
        g.template_id, true, false, false, false, 0, 0, 0, 0
    FROM sends s, generations g WHERE g.user_id LIKE 'P%'
"""
INSERT_EVENTS = """
    INSERT INTO events (day, org_id, event_id, metric, profile_id, event_at, transmission_id, file_id, line)
    SELECT e.day, e.org_id, 'E' || s.transmission_id, e.metric, s.profile_id, e.event_at, s.transmission_id, e.file_id,
        1
    FROM events e, sends s WHERE s.profile_id LIKE 'P%' AND e.transmission_id IS NOT NULL
"""


@pytest.fixture
async def acme(database_url: str) -> AsyncIterator[Rig]:
    """On one connection, whose plans are what this is about."""
    async with open_database(database_url, name="plans-test", max_size=1) as database:
        rig = Rig(database, await new_org(database, "acme"))
        await rig.rows(INSERT_TEMPLATE, rig.org_id, rig.clock.now())
        yield rig


async def mailed(acme: Rig) -> str:
    """One email with an event; the id of its generation."""
    facts = Facts(acme.database, acme.org_id, acme.clock.now())
    generation_id = await facts.generation("01PERSON", sent_s=120)
    await facts.event("01PERSON", "Received Email", of=generation_id)
    return str(generation_id)


async def read_by(acme: Rig, tables: str, act: Callable[[], Awaitable[object]], often: int = OFTEN) -> int:
    """Rows of these tables that it reads once they are filled, having been done often while they were empty."""
    for _ in range(often):
        await act()
    await acme.rows(INSERT_GENERATIONS, OTHERS)
    await acme.rows(INSERT_SENDS)
    await acme.rows(INSERT_EVENTS)
    before = await rows_read(acme.database, tables)
    await act()
    return await rows_read(acme.database, tables) - before


async def test_an_email_is_shown_without_reading_the_others(acme: Rig) -> None:
    asked = {"transmission_id": f"T{await mailed(acme)}"}

    assert await read_by(acme, "^(sends$|events_2)", lambda: acme.run(sends.show, asked)) < 10


async def test_the_emails_of_a_day_find_their_generations_one_by_one(acme: Rig) -> None:
    await mailed(acme)

    read = await read_by(acme, "^generations_2", lambda: acme.run(sends.list_sends, {"template_id": "welcome"}))

    assert read <= OTHERS + 1


async def test_an_event_is_traced_without_reading_the_others(acme: Rig) -> None:
    await mailed(acme)
    (event,) = await acme.rows("SELECT event_id FROM events")

    assert await read_by(acme, "^(sends$|events_2)", lambda: acme.run(tracing.show, event)) < 10


async def test_an_event_that_names_no_email_is_traced_without_reading_all_of_them(acme: Rig) -> None:
    await mailed(acme)
    await Facts(acme.database, acme.org_id, acme.clock.now()).event("01PERSON", "Placed Order")
    (event,) = await acme.rows("SELECT event_id FROM events WHERE transmission_id IS NULL")

    assert await read_by(acme, "^sends$", lambda: acme.run(tracing.show, event)) < 10


async def test_a_story_is_told_without_reading_the_others(acme: Rig) -> None:
    await mailed(acme)
    (row,) = await acme.rows("SELECT generation_id FROM generations")
    store = WhyStore(acme.database, acme.clock)

    async def told() -> None:
        (found,) = await store.find(row["generation_id"], 30)
        story = await store.story(found, row["generation_id"])
        assert [len(one.events) for one in story.sends] == [1]

    assert await read_by(acme, "^(sends$|(events|generations)_2)", told) < 20


async def test_of_the_newest_webhooks_no_more_are_read_than_are_looked_at(
    acme: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_store, "SAMPLE", 100)
    await mailed(acme)
    now = acme.clock.now()

    async def access() -> None:
        async with acme.database.transaction(acme.org_id) as connection:
            await refused_store.read_access(
                connection, acme.org_id, now, template_id="welcome", flow_id="FLOW01", digests=[]
            )

    assert await read_by(acme, "^generations_2", access, often=0) <= 100
