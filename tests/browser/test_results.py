"""Results in a real browser: they can be read on any screen, taken along as CSV, and decided by."""

import csv
import io
import re

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import Visitor, browsing, visitor_of
from tests.support.console import Stage
from tests.support.results import History

PATHS = {
    "results-list": "/acme/results",
    "results": "/acme/results/welcome?by=plan",
    "results-new": "/acme/results/fresh",
    "what-if": "/acme/results/welcome/what-if?policy=best",
}


@browsing
async def history(stage: Stage) -> History:
    """Six weeks of a template, and one that nobody has had yet."""
    history = History(stage.db, stage.orgs["acme"], stage.now)
    await history.template()
    await history.template("fresh", "Win-back")
    await history.days(42, 240)
    await history.policies(42)
    await history.pause()
    await history.count()
    return history


@pytest.mark.long
async def test_results_have_no_fault_that_axe_finds_and_fit_their_screen(ann: Visitor, history: History) -> None:
    faults: dict[str, list[str]] = {}
    for name, path in PATHS.items():
        faults |= await ann.look(name, path)

    assert faults == {}


async def test_a_chart_its_table_and_its_csv_say_the_same(ann: Visitor, history: History) -> None:
    page = ann.page
    await ann.goes_to("/acme/results/welcome?days=90")
    figure = page.get_by_role("figure", name="Lift in clicks of all days so far")
    await expect(figure.locator("canvas")).to_be_visible()
    await figure.get_by_text("Show as a table").click()
    table = figure.get_by_role("table")
    async with page.expect_download() as download:
        await figure.get_by_role("link", name="Download CSV").click()
    text = (await (await download.value).path()).read_text()
    rows = list(csv.DictReader(io.StringIO(text)))

    assert len(rows) > 20
    shown = await table.get_by_role("row").count() - 1
    assert 10 < shown <= len(rows)
    last = table.get_by_role("row").last
    newest = f"{int(float(rows[-1]['lift']) * 100)}."
    await expect(last).to_contain_text(newest)
    await expect(figure.locator(".u-legend")).to_contain_text(newest)


async def test_a_segment_is_chosen_and_a_template_is_shipped_with_keys_and_without_script(
    chromium: Browser, stage: Stage, history: History
) -> None:
    visitor = await visitor_of(chromium, stage.url, width=390, js=False)
    page = visitor.page
    await visitor.signs_in()
    await visitor.goes_to("/acme/results")
    await page.get_by_role("link", name="Welcome series").click()
    await page.get_by_label("Compare within each value of").select_option("plan")
    await page.get_by_role("button", name="Compare").click()
    segments = page.get_by_role("region", name="By attribute")
    await expect(segments.get_by_role("row").filter(has_text="trial")).to_contain_text(re.compile(r"\d,\d{3}"))

    await page.get_by_text("Ship…").click()
    await page.get_by_role("button", name="Ship it").click()

    await expect(page.get_by_text("The template is shipped now.")).to_be_visible()
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT state FROM templates WHERE template_id = 'welcome'") == "shipped"


async def test_archiving_a_variant_asks_back_and_says_what_stays(ann: Visitor, history: History) -> None:
    page = ann.page
    await ann.goes_to("/acme/results/welcome")
    row = page.get_by_role("row").filter(has_text="Story first")
    await row.get_by_text("Archive…").click()
    dialog = page.get_by_role("dialog", name="Archive Story first?")
    await expect(dialog).to_contain_text("delivered emails stay in the results")
    assert await ann.faults() == []
    await dialog.get_by_role("button", name="Archive", exact=True).click()

    await expect(page.get_by_text("Story first is archived; nobody new gets it.")).to_be_visible()


async def test_who_may_only_look_sees_results_and_no_decision(
    chromium: Browser, stage: Stage, history: History
) -> None:
    visitor = await visitor_of(chromium, stage.url)
    await visitor.signs_in("cleo@example.com")
    await visitor.goes_to("/acme/results/welcome")

    await expect(visitor.page.get_by_role("heading", name="Lift against control")).to_be_visible()
    await expect(visitor.page.get_by_text("Ship…")).to_have_count(0)
    await expect(visitor.page.get_by_text("Archive…")).to_have_count(0)
