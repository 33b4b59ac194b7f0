"""The home of an org says what is there and what is next."""

from datetime import UTC, datetime
from uuid import uuid4

import asyncpg

from tests.component.console.browser import Browser
from tests.support.console import Stage
from tests.support.operations import Facts

INSERT_KEY = """
    INSERT INTO api_keys (key_id, org_id, name, shown, digest, pepper, created_at)
    VALUES ($1, $2, 'webhook', '…', sha256($1::uuid::text::bytea), 1, $3)
"""
STOP = "UPDATE orgs SET stopped_at = $2 WHERE org_id = $1"


async def test_a_new_org_is_told_what_is_next(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))

    words = (await visitor.get("/acme/")).words

    assert "0 of 11 done" in words
    assert "Needs attention" in words
    for empty in ("What emails showed", "Last 24 hours"):  # there is nothing to say yet
        assert empty not in words
    assert "/acme/integration" in (await visitor.get("/acme/")).html


async def test_only_what_the_org_has_counts(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    async with stage.db.transaction() as connection:
        await connection.execute(INSERT_KEY, uuid4(), stage.orgs["other"], stage.now)
    before = (await visitor.get("/acme/")).words
    async with stage.db.transaction() as connection:
        await connection.execute(INSERT_KEY, uuid4(), stage.orgs["acme"], stage.now)

    assert "0 of 11 done" in before
    assert "1 of 11 done" in (await visitor.get("/acme/")).words


async def test_a_stop_is_said_first(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    async with stage.db.transaction() as connection:
        await connection.execute(STOP, stage.orgs["acme"], stage.now)

    assert "This org is stopped" in (await visitor.get("/acme/")).words


async def test_a_table_that_stays_locked_is_said_so(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    owner = await asyncpg.connect(stage.settings.database_url.get_secret_value())
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE orgs IN ACCESS EXCLUSIVE MODE")
            answer = await visitor.get("/acme/")
    finally:
        await owner.close()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "Nothing was saved. Please send it once more." in answer.words


async def test_the_last_day_is_counted_without_what_was_only_looked_at(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="viewer"))
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.generation("01A")
    await facts.generation("01B", outcome=None)
    await facts.generation("01C", decision="control", decided="control_split", outcome="nothing_to_clear")
    await facts.generation("01D", decision="preview", decided="preview", outcome=None)
    await facts.generation("01E", ago_s=2 * 86_400)

    words = (await visitor.get("/acme/")).words

    assert "Webhooks 3 accepted" in words
    assert "Personalised 2 our copy" in words
    assert "10 minutes ago" in words


async def test_below_what_was_just_done_stands_what_is_next_for_who_may_do_it(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    facts = Facts(stage.db, stage.orgs["acme"], datetime.now(UTC))
    await facts.account()
    made = (await visitor.post("/acme/keys", name="Klaviyo webhook", kind="generate")).words

    await visitor.post("/acme/integration/org", time_zone="Europe/Berlin")
    renamed = (await visitor.get("/acme/integration/org")).words
    again = (await visitor.get("/acme/integration/org")).words

    assert "Next: Create a template" in made
    assert "Next: Create a template" in renamed
    assert "Next:" not in again
