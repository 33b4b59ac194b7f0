"""Days and moments that an address or a form can name, and that nothing can be reckoned from."""

from collections.abc import AsyncIterator

import pytest

from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.support.console import console
from tests.support.operations import Facts

FIRST, LAST = "0001-01-01", "9999-12-31"
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, created_at, updated_at) VALUES ($1, 'welcome', 'Welcome', $2, $2)
"""
INSERT_SOURCE = "INSERT INTO sources (source_id, org_id, name, kind) VALUES (gen_random_uuid(), $1, 'api', 'klaviyo')"


@pytest.fixture
async def ann(database_url: str) -> AsyncIterator[Browser]:
    """An owner, in an org with a template, a bucket and a source of Klaviyo's API."""
    async with console(database_url, SystemClock()) as stage, Browser(stage.url) as browser:
        facts = Facts(stage.db, stage.orgs["acme"], stage.now)
        await facts.execute(INSERT_TEMPLATE, facts.org_id, facts.now)
        await facts.execute(INSERT_SOURCE, facts.org_id)
        await browser.sign_in(await stage.person("Ann", acme="owner"))
        await browser.post("/acme/integration/export", bucket="records")
        yield browser


@pytest.mark.parametrize(
    "query",
    [
        f"since={FIRST}&until={FIRST}", f"until={FIRST}", f"since={LAST}&until={LAST}", "since=soon",
        "since=1900-01-01&until=1900-01-01", "since=2999-12-31&until=2999-12-31",
    ],
)  # fmt: skip
@pytest.mark.parametrize("page", ["", "/sends", "/table/days.csv", "/table/shares.csv"])
async def test_results_of_odd_days_are_shown_or_refused(ann: Browser, page: str, query: str) -> None:
    assert (await ann.get(f"/acme/results/welcome{page}?{query}")).status in (200, 400, 422)


@pytest.mark.parametrize(
    "query", ["month=0001-01", "month=9999-12", f"from={FIRST}T00:00%2B14:00&to={LAST}T00:00-14:00"]
)
async def test_odd_months_of_exports_are_this_month(ann: Browser, query: str) -> None:
    assert (await ann.get(f"/acme/operations/exports?{query}")).status == 200


async def test_a_backfill_of_odd_days_is_refused_beside_its_field(ann: Browser) -> None:
    exports = await ann.post("/acme/operations/exports/backfill", start=f"{FIRST}T00:00+14:00", end=f"{LAST}T00:00")
    source = await ann.post("/acme/operations/sources/api/backfill", since=FIRST, until="2026-01-01")

    assert exports.status == 422
    assert "is no moment of any export" in exports.words
    assert source.status == 422
    assert "is not between the years 1900 and 3000" in source.words
