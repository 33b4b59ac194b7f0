"""What waits, on the page of sources; and from a number of the results to its emails and their files."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.support.console import Stage, console
from tests.support.operations import Facts
from tests.support.templates import make_template


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with console(database_url, SystemClock()) as running:
        await running.staff()
        yield running


async def test_how_many_emails_wait_and_why_stands_on_the_page_of_sources(stage: Stage, visitor: Browser) -> None:
    org_id, day = stage.orgs["acme"], stage.now.date()
    async with stage.db.connection() as connection:
        await connection.execute(
            "INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key) "
            "VALUES (gen_random_uuid(), $1, 'events', 'h', 'u', 'k', 's')", org_id,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO unmatched (org_id, day, message_id, tried_at, no_generation, not_synced) VALUES "
            "($1, $2, 'MSG1', $3, 1200, 0), ($1, $2, '', $3, 0, 7), ($1, $4, 'OLD', $3, 55, 0)",
            org_id, day, stage.now, day - timedelta(days=8),
        )  # fmt: skip
        await connection.execute("INSERT INTO unmatched_orgs (org_id, no_delivery) VALUES ($1, 31)", org_id)
    await visitor.sign_in(await stage.person("Vic", acme="viewer"))

    page = await visitor.get("/acme/operations/sources")

    assert "1,200 Emails whose person has no generation that they could show" in page.words
    assert '<a href="/acme/troubleshooting">Refresh Klaviyo Data</a>' in page.html
    assert "justai" not in page.words
    assert "7 Emails that are attributed by their flow alone" in page.words
    assert "31 Opens and clicks of emails of which no file says that they were sent" in page.words
    assert ("MSG1" in page.words, "OLD" in page.words) == (True, False)  # given up after a week


async def test_an_email_is_reached_from_its_template_and_leads_to_its_file(stage: Stage, visitor: Browser) -> None:
    await make_template(stage, "acme", "welcome")
    facts = Facts(stage.db, stage.orgs["acme"], stage.now)
    generation_id: UUID = await facts.generation("01PERSON", sent_s=130, template_id="welcome")
    await facts.event("01PERSON", "Opened Email", of=generation_id)
    await facts.told_by("out/today.csv")
    await visitor.sign_in(await stage.person("Vic", acme="viewer"))
    refused = await visitor.get("/acme/results/welcome/sends")
    await visitor.sign_in(await stage.person("Ed", acme="editor"))

    sends = await visitor.get("/acme/results/welcome/sends?what=sent&arm=nobody&value=x")
    wrong = await visitor.get("/acme/results/welcome/sends?variant=Cold")
    later = await visitor.get("/acme/results/welcome/sends?after=yesterday")
    email = await visitor.get(f"/acme/operations/sends/T{generation_id}")

    assert refused.status == 403
    assert f"T{generation_id}" in sends.words
    assert (wrong.status, "No variant" in wrong.words) == (422, True)
    assert (later.status, "said as its next" in later.words) == (422, True)
    assert "Opened Email events out/today.csv 12" in email.words
    assert (await visitor.get("/acme/operations/sends/T9")).status == 404
