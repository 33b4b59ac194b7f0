"""Forms where script is absent, or on its way for long. More of the first stand beside what they are of."""

import asyncio
import re

from playwright.async_api import Browser, Route, expect

from tests.browser.conftest import visitor_of
from tests.support.console import Stage
from tests.support.operations import Facts
from tests.support.waiting import eventually

PERSON = "01HZX3PERSONWWWWMMMM000000"


async def test_without_script_a_key_is_revoked_and_a_person_deleted(chromium: Browser, stage: Stage) -> None:
    facts = Facts(stage.db, stage.orgs["acme"], stage.now)
    await facts.account()
    await facts.generation(PERSON)
    visitor = await visitor_of(chromium, stage.url, width=390, js=False)
    page = visitor.page
    await visitor.signs_in()
    await visitor.goes_to("/acme/keys")
    await page.get_by_label("Name").fill("Klaviyo webhook")
    await page.get_by_role("button", name="Create key").click()
    await expect(page.get_by_role("textbox", name="API key")).to_be_visible()
    await visitor.goes_to("/acme/keys")
    await page.get_by_text("Revoke…").click()
    await page.get_by_role("button", name="Revoke", exact=True).click()
    await expect(page.get_by_text("it is refused everywhere within 5 seconds")).to_be_visible()

    await visitor.goes_to("/acme/operations/people")
    await page.get_by_label("Klaviyo profile id or generation id").fill(PERSON)
    await page.get_by_role("button", name="Find").click()
    await page.get_by_text("Delete this person…").click()
    await page.get_by_label("Type the profile id").fill(PERSON)
    await page.get_by_role("button", name="Delete", exact=False).last.click()
    await expect(page.get_by_text("Deleted: 1 generation")).to_be_visible()


async def test_while_libraries_are_on_their_way_a_form_can_be_sent_and_is_sent_once(
    chromium: Browser, stage: Stage
) -> None:
    visitor = await visitor_of(chromium, stage.url)
    page, come = visitor.page, asyncio.Event()
    sent: list[str] = []
    await visitor.signs_in()

    async def late(route: Route) -> None:
        await come.wait()
        await route.continue_()

    async def slow(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request.url)
            await asyncio.wait_for(come.wait(), 10)
        await route.continue_()

    await visitor.context.route(re.compile(r"/(htmx|uPlot)[^/]*\.js$"), late)
    await visitor.context.route("**/acme/keys", slow)
    await page.goto(visitor.url + "/acme/keys", wait_until="commit")
    await page.get_by_label("Name").fill("Klaviyo webhook")
    box = await page.get_by_role("button", name="Create key").bounding_box()
    assert box is not None
    await page.mouse.click(box["x"] + 5, box["y"] + 5)
    await eventually(lambda: len(sent) == 1, within_s=10)
    await page.mouse.click(box["x"] + 5, box["y"] + 5)  # as people do when nothing seems to happen
    come.set()

    await expect(page.get_by_role("textbox", name="API key")).to_be_visible()
    assert len(sent) == 1
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM api_keys") == 1
