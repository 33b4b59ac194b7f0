"""What an address or a form can say, and nothing of ours is: each is refused, and none is a fault of ours."""

import re
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from services.console.routes import all_pages
from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.support.console import console
from tests.support.operations import Facts

WARM = UUID(int=7)
FIRST, LAST = "0001-01-01", "9999-12-31"
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, created_at, updated_at) VALUES ($1, 'welcome', 'Welcome', $2, $2)
"""
INSERT_VARIANT = """
    WITH v AS (
        INSERT INTO variants (org_id, copy_id, template_id, name, created_at, updated_at)
        VALUES ($1, $2, 'welcome', 'Warm', $3, $3) RETURNING org_id, copy_id, created_at
    )
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    SELECT org_id, copy_id, 1, 'Hi', '', '<p>Hi</p>', created_at FROM v
"""
INSERT_SOURCE = "INSERT INTO sources (source_id, org_id, name, kind) VALUES (gen_random_uuid(), $1, 'api', 'klaviyo')"


@pytest.fixture
async def ann(database_url: str) -> AsyncIterator[Browser]:
    """An owner, in an org with a template, a bucket and a source of Klaviyo's API."""
    async with console(database_url, SystemClock()) as stage, Browser(stage.url) as browser:
        facts = Facts(stage.db, stage.orgs["acme"], stage.now)
        await facts.execute(INSERT_TEMPLATE, facts.org_id, facts.now)
        await facts.execute(INSERT_VARIANT, facts.org_id, WARM, facts.now)
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


@pytest.mark.parametrize("part", ["%00", "a%00b", "%ff", "%ed%a0%80", "x" * 600, "9" * 5_000])
async def test_an_address_that_names_nothing_of_ours_is_not_there(ann: Browser, part: str) -> None:
    """Each page that has a name in its address, also with the names of what is there in front of it."""
    failed = []
    for page in all_pages(dev=False):
        if page.of_an_org and page.path.count("{") > 1:
            there = page.path.replace("{org}", "acme").replace("{template}", "welcome").replace("{source}", "api")
            for path in {there, page.path.replace("{org}", "acme")}:
                odd = re.sub(r"\{[a-z_]+\}", part, path)
                answer = await (ann.get(odd) if page.method == "GET" else ann.post(odd))
                failed += [f"{page.method} {page.path}"] * (answer.status >= 500)

    assert failed == []


async def test_versions_that_no_variant_has_are_not_there(ann: Browser) -> None:
    diff = f"/acme/templates/welcome/variants/{WARM}/diff"

    assert (await ann.get(f"{diff}?first=1")).status == 200
    for odd in ("9" * 5_000, "9" * 30, "0", "²"):
        assert (await ann.get(f"{diff}?first={odd}")).status in (200, 404)
