"""Single sign-on in a browser, through the page of a provider that is not ours."""

import re

from playwright.async_api import Browser, expect

from shared.clock import SystemClock
from tests.browser.conftest import visitor_of
from tests.support.console import console
from tests.support.oidc import foreign_provider, settings_for

ANN = {"sub": "ann-1", "email": "ann@example.com", "email_verified": True}
ZOE = {"sub": "zoe-1", "email": "zoe@example.com", "email_verified": True}


async def test_people_sign_in_at_the_provider_and_out_again(chromium: Browser, database_url: str) -> None:
    async with (
        foreign_provider(ANN, ZOE) as issuer,
        console(database_url, SystemClock(), **settings_for(issuer)) as stage,
    ):
        await stage.staff()
        invite = await stage.invite("acme", "zoe@example.com")
        faults: list[str] = []
        for width, scheme in ((1280, "light"), (390, "dark")):
            look = await visitor_of(chromium, stage.url, width=width, scheme=scheme)  # type: ignore[arg-type] # two
            for name, path in (("sign-in-provider", "/_sign-in"), ("invite-provider", invite)):
                await look.goes_to(path)
                await look.shoot(f"{name}-{width}-{scheme}")
                faults += await look.faults()
            await look.context.close()

        visitor = await visitor_of(chromium, stage.url)
        page = visitor.page
        # The provider's pages ask another host for a style sheet; nothing of ours does.
        await visitor.context.route(
            re.compile("^https:"), lambda route: route.fulfill(body="", content_type="text/css")
        )
        await visitor.goes_to("/acme/people")
        await page.get_by_role("link", name="Sign in with Acme ID").click()
        await page.get_by_role("button", name="Deny").click()
        # This provider leaves the state out of a no, so it could be anybody's.
        await expect(page.get_by_role("alert")).to_contain_text("Begin again.")
        await visitor.shoot("sign-in-provider-refused")
        faults += await visitor.faults()

        await page.keyboard.press("Tab")
        await page.get_by_role("link", name="Sign in with Acme ID").press("Enter")
        await page.get_by_role("button", name="ann-1").click()
        await page.wait_for_url("**/acme/people")
        await expect(page.get_by_role("table", name="Members")).to_contain_text("Acme ID")
        await visitor.shoot("people-provider")

        await visitor.goes_to("/_account")
        await expect(page.get_by_role("heading", name="Acme ID")).to_be_visible()
        await visitor.shoot("account-provider")
        faults += await visitor.faults()

        await page.get_by_role("button", name="Sign out", exact=True).click()
        await page.wait_for_url(f"{issuer}/oauth2/end_session**")
        await page.locator("button[type=submit], input[type=submit]").first.click()
        await page.wait_for_url(f"{stage.url}/_sign-in?state=signed-out")
        await expect(page.get_by_text("You are signed out.")).to_be_visible()

        await visitor.goes_to(invite)
        await page.get_by_role("link", name="Join with Acme ID").click()
        await page.get_by_role("button", name="zoe-1").click()
        await page.wait_for_url("**/acme/")

        assert faults == []
        assert visitor.complaints == []
