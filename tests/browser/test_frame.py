"""The frame of the console: how it looks, that it can be used with keys alone, and without script."""

import re

from playwright.async_api import Browser, expect

from tests.browser.conftest import Visitor, visitor_of
from tests.browser.two_factor import give_password, turn_on
from tests.support.console import PASSWORD, Stage


async def test_what_pages_are_made_of_has_no_fault_at_a_desk_and_in_the_dark(chromium: Browser, stage: Stage) -> None:
    """Every page there is, on a phone: test_every_page.py."""
    visitor = await visitor_of(chromium, stage.url)
    faults = await visitor.look("sign-in", "/_sign-in")
    await visitor.signs_in()
    for name, path in {"gallery": "/_gallery", "home": "/acme/", "templates-none": "/acme/templates"}.items():
        faults |= await visitor.look(name, path)

    assert faults == {}
    assert visitor.complaints == []


async def test_nothing_is_loaded_from_another_host(chromium: Browser, stage: Stage) -> None:
    visitor = await visitor_of(chromium, stage.url)
    asked: set[str] = set()
    visitor.page.on("request", lambda request: asked.add(request.url))
    await visitor.signs_in()
    await visitor.goes_to("/_gallery")

    assert len(asked) > 5
    assert {url for url in asked if not url.startswith((stage.url, "data:"))} == set()


async def test_a_script_of_a_stranger_does_not_run(ann: Visitor) -> None:
    await ann.goes_to("/acme/")
    await ann.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.stranger = 1";
            document.body.append(script);
        }"""
    )

    assert await ann.page.evaluate("window.stranger") is None
    assert "Content Security Policy" in ann.complaints.pop()


async def test_the_keyboard_alone_signs_in_and_asks_back_before_it_removes(chromium: Browser, stage: Stage) -> None:
    visitor = await visitor_of(chromium, stage.url)
    page = visitor.page
    await visitor.goes_to("/_sign-in")
    await expect(page.get_by_label("Email")).to_be_focused()
    await page.keyboard.type("ann@example.com")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/acme/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()

    await visitor.goes_to("/acme/people")
    remove = page.locator("tr", has_text="Cleo Example").get_by_text("Remove…")
    await remove.focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Remove Cleo Example?")
    await expect(dialog).to_be_visible()
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert await visitor.faults() == []
    await visitor.shoot("remove-1280-light")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(remove).to_be_focused()

    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("They do not work in this org any more.")).to_be_visible()
    await expect(page.get_by_text("Cleo Example")).to_have_count(0)
    assert visitor.complaints == []


async def test_without_script_people_join_sign_in_and_are_removed(chromium: Browser, stage: Stage) -> None:
    visitor = await visitor_of(chromium, stage.url, width=390, js=False)
    page = visitor.page
    await visitor.goes_to(await stage.invite("acme", "dan@example.com", "owner"))
    await page.get_by_label("Your name").fill("Dan Example")
    await page.get_by_label("Password", exact=True).fill("a kettle made of paper")
    await page.get_by_label("Password again").fill("a kettle made of another")
    await page.get_by_role("button", name="Create the account and join").click()
    await expect(page.get_by_text("Password again is not the same as the first one.")).to_be_visible()
    await expect(page.get_by_label("Your name")).to_have_value("Dan Example")
    await page.get_by_label("Password", exact=True).fill("a kettle made of paper")
    await page.get_by_label("Password again").fill("a kettle made of paper")
    await page.get_by_role("button", name="Create the account and join").click()
    await page.wait_for_url("**/acme/")

    await page.get_by_role("link", name="Menu", exact=True).click()
    await page.get_by_role("link", name="People").click()
    row = page.locator("tr", has_text="Cleo Example")
    await row.get_by_text("Remove…").click()
    await row.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("They do not work in this org any more.")).to_be_visible()


async def test_the_menu_of_a_phone_opens_and_closes(chromium: Browser, stage: Stage) -> None:
    visitor = await visitor_of(chromium, stage.url, width=390)
    page = visitor.page
    await visitor.signs_in()
    people = page.get_by_role("link", name="People")

    await expect(people).to_be_hidden()
    await page.get_by_label("Menu", exact=True).click()
    await expect(people).to_be_visible()
    await visitor.shoot("menu-390-light")
    await page.keyboard.press("Escape")
    await expect(people).to_be_hidden()
    await expect(page.get_by_label("Menu", exact=True)).to_be_focused()


async def test_an_invitation_is_made_and_copied(ann: Visitor) -> None:
    page = ann.page
    await ann.goes_to("/acme/people")
    form = page.get_by_role("region", name="Invite somebody")
    await form.get_by_label("Email").fill("eve@example.com")
    await form.get_by_label("Reviewer").check()
    await page.get_by_role("button", name="Make an invitation link").click()
    await page.get_by_role("button", name="Copy invitation link").click()
    await expect(page.get_by_role("button", name="Copied invitation link")).to_be_visible()

    copied = await page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(rf"{ann.url}/_invite/[A-Za-z0-9_-]{{43}}", copied)


async def test_a_second_factor_is_turned_on_and_asked_for(chromium: Browser, ann: Visitor, stage: Stage) -> None:
    [code, *_] = await turn_on(ann, stage)
    await ann.shoot("recovery-codes-1280-light")

    fresh = await visitor_of(chromium, ann.url)
    await give_password(fresh)
    await fresh.page.get_by_label("Code").fill(code)
    await fresh.page.get_by_role("button", name="Sign in", exact=True).click()
    await fresh.page.wait_for_url("**/acme/")


async def test_a_chart_is_drawn_and_its_table_says_the_same(ann: Visitor) -> None:
    page = ann.page
    await ann.goes_to("/_gallery")
    await expect(page.locator(".chart-canvas canvas")).to_be_visible()
    await page.get_by_text("Show as a table").click()
    table = page.get_by_role("table", name="Clicks per delivered email")

    await expect(table.get_by_role("row")).to_have_count(15)
    await expect(table.get_by_role("row").nth(14)).to_contain_text("23 %")
