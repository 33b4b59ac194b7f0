"""Drafting with a model in a browser: from the brief to an approved draft, followed as drafts come in."""

from collections.abc import AsyncIterator, Iterator
from threading import Event
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from shared.clock import SystemClock
from tests.browser.conftest import Visitor, browsing
from tests.support.console import Stage, console
from tests.support.drafting import draft, llm
from tests.support.llm import FakeModel, Reply, Request, completion, fake_model
from tests.support.templates import make_template

EVIL = draft(
    2,
    name="<b>Letter</b>",
    body="<p>free shipping</p><script>parent.hit = 1</script><a href='https://evil.example'>x</a>",
)


@pytest.fixture
def go_on() -> Iterator[Event]:
    """Set: the second draft may come."""
    event = Event()
    yield event
    event.set()


@pytest.fixture
def model(go_on: Event) -> Iterator[FakeModel]:
    def second(_: Request) -> Reply:
        go_on.wait(30)
        return completion(draft(1))

    with fake_model(completion(draft(0)), second, completion(EVIL)) as server:
        yield server


@browsing
async def stage(database_url: str, model: FakeModel) -> AsyncIterator[Stage]:
    """With a model."""
    settings = llm(model, price_read=2, price_written=10)
    async with console(database_url, SystemClock(), dev=True, **settings) as running:
        await running.staff()
        await make_template(running, "acme")
        yield running


async def test_drafts_come_in_one_by_one_and_wait_for_a_review(ann: Visitor, stage: Stage, go_on: Event) -> None:
    page = ann.page
    faults = await ann.look("drafts-new", "/acme/templates/welcome/drafts/_new")
    await ann.goes_to("/acme/templates/welcome")
    await page.get_by_role("link", name="Draft with a model").click()
    await page.get_by_label("Goal").fill("Bring new customers to their first order")
    await page.get_by_label("Themes").fill("welcome\noffer")
    await page.get_by_label("Words that must be there").fill("free shipping")
    await page.get_by_label("Fields").fill("first_name")
    await page.get_by_label("Links").fill("https://shop.example/first")
    await page.get_by_role("button", name="Show what would be sent").click()
    await expect(page.get_by_text("Nothing was sent.")).to_be_visible()
    faults["drafts-prompt"] = await ann.faults()
    await ann.shoot("drafts-prompt-1280-light")
    await page.get_by_role("button", name="Draft with a model").focus()
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("link", name="Two cups")).to_be_visible()
    await expect(page.get_by_text("Draft 2 is being written")).to_be_visible()
    path = urlsplit(page.url).path
    faults |= await ann.look("drafts-going", path)
    await page.set_viewport_size({"width": 1280, "height": 800})
    go_on.set()
    await expect(page.get_by_text("3 drafts are stored, 2 in review.")).to_be_visible(timeout=15_000)
    await expect(page.get_by_role("link", name="<b>Letter</b>")).to_be_visible()
    assert await page.evaluate("window.hit") is None
    faults |= await ann.look("drafts-done", path)
    await page.get_by_role("link", name="Two cups").click()
    await page.get_by_text("Approve…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_text("Two cups, version 1: approved.")).to_be_visible()
    faults |= await ann.look("drafts-tab", "/acme/templates/welcome")
    assert faults == {"drafts-prompt": []}
