"""What script adds where a part does not come, and where a name is typed from which another follows."""

from playwright.async_api import Browser, Route, expect

from services.console.people.joining import first_run_token
from shared.clock import SystemClock
from tests.browser.conftest import Visitor, visitor_of
from tests.support.console import PASSWORD, Stage, console
from tests.support.templates import make_template

ID = "0123456789ab"


async def _fail(route: Route) -> None:
    await route.fulfill(status=500, content_type="text/html", body=f"<p>Tell whoever runs it this id: {ID}.</p>")


async def test_a_part_that_fails_says_so_in_its_place(ann: Visitor) -> None:
    await ann.page.route("**/operations/attention", _fail)

    await ann.goes_to("/acme/")

    part = ann.page.get_by_role("region", name="Needs attention")
    await expect(part).to_contain_text("This part could not be read.")
    await expect(part).to_contain_text(f"tell whoever runs the console this id: {ID}.")
    await expect(part.locator(".loading")).to_have_count(0)
    ann.complaints[:] = [one for one in ann.complaints if "status of 500" not in one]


async def test_who_was_signed_out_keeps_what_was_typed_and_goes_on_after_signing_in_elsewhere(
    ann: Visitor, stage: Stage
) -> None:
    await make_template(stage, "acme")
    await ann.goes_to("/acme/templates/welcome/variants/_new")
    subject, said = ann.page.get_by_label("Subject Line"), ann.page.locator("[data-toasts]")
    await ann.context.clear_cookies()

    await subject.fill("Coffee is on")
    await expect(said).to_contain_text("You were signed out.")
    async with ann.context.expect_page() as opening:
        await said.get_by_role("link", name="Sign in in another tab").click()
    tab = await opening.value
    await tab.get_by_label("Email").fill("ann@example.com")
    await tab.get_by_label("Password", exact=True).fill(PASSWORD)
    await tab.get_by_role("button", name="Sign in").click()
    await tab.wait_for_url("**/acme/")
    await expect(subject).to_have_value("Coffee is on")
    await subject.fill("Coffee is on now")

    await expect(said).not_to_contain_text("You were signed out.")
    await expect(ann.page.locator("#findings")).to_be_visible()


async def test_the_slug_follows_the_orgs_name_until_it_is_typed(chromium: Browser, database_url: str) -> None:
    async with console(database_url, SystemClock(), dev=True) as stage:
        visitor = await visitor_of(chromium, stage.url)
        page = visitor.page
        token = first_run_token(stage.settings.api_key_peppers.get_secret_value())
        async with stage.db.connection() as connection:
            await connection.execute("DELETE FROM orgs")
        await visitor.goes_to(f"/_setup/{token}")

        await page.get_by_label("Name of your org").fill("Café Zoë & Sons")
        await expect(page.get_by_label("Org slug")).to_have_value("cafe-zoe-sons")
        await page.get_by_label("Org slug").fill("zoe")
        await page.get_by_label("Name of your org").fill("Something else")

        await expect(page.get_by_label("Org slug")).to_have_value("zoe")
        assert visitor.complaints == []
