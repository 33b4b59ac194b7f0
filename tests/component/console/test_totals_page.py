"""Klaviyo's totals beside ours, as a page."""

from collections.abc import AsyncIterator

import pytest

from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.support.console import Stage, console
from tests.support.totals import add_totals


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    async with console(database_url, SystemClock()) as running:
        await running.staff()
        yield running


async def test_a_difference_shows_both_numbers_and_its_cause_and_only_an_editor_may_ask_anew(
    stage: Stage, visitor: Browser
) -> None:
    await add_totals(stage.db)
    await visitor.sign_in(await stage.person("Vic", acme="viewer"))
    viewer = await visitor.get("/acme/operations/totals")
    refused = await visitor.post("/acme/operations/totals/compare")
    await visitor.sign_in(await stage.person("Ed", acme="editor"))
    everything = await visitor.get("/acme/operations/totals?all=1")
    asked = await visitor.post("/acme/operations/totals/compare")

    assert "MSG1 Opens emails sent 90 60 by people 120 -30 Source silent" in viewer.words
    assert "MSG2" not in viewer.words
    assert "MSG2 Delivered emails sent 70 70 +0 Nothing wrong" in everything.words
    assert ("Compare now" in viewer.words, "Compare now" in everything.words) == (False, True)
    assert (refused.status, asked.status) == (403, 303)
    async with stage.db.connection() as connection:
        assert (
            await connection.fetchval("SELECT due_at FROM reconcile_orgs JOIN orgs USING (org_id) WHERE slug = 'acme'")
            is None
        )


async def test_an_org_without_a_key_is_led_to_its_form(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Olga", acme="owner"))

    page = await visitor.get("/acme/operations/totals")

    assert (page.status, "Not connected to Klaviyo yet" in page.words) == (200, True)
