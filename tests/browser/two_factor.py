"""Turning on two-factor sign-in, as a person does."""

import pyotp
from playwright.async_api import expect

from tests.browser.conftest import Visitor
from tests.support.console import PASSWORD, Stage


async def turn_on(visitor: Visitor, stage: Stage) -> list[str]:
    """From the page of one's account to the recovery codes, which are shown when this ends."""
    page = visitor.page
    await visitor.goes_to("/_account")
    await page.get_by_role("link", name="Turn it on").click()
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()
    await page.get_by_text("The camera does not work").click()
    secret = (await page.get_by_label("secret", exact=True).input_value()).replace(" ", "")
    await page.get_by_label("Code", exact=True).fill(pyotp.TOTP(secret).at(stage.now))
    await page.get_by_label("Your password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Turn it on").click()
    await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    return (await page.get_by_role("region", name="recovery codes", exact=True).inner_text()).split()


async def give_password(visitor: Visitor, email: str = "ann@example.com") -> None:
    """Sign in as far as the question for the second factor."""
    page = visitor.page
    await visitor.goes_to("/_sign-in")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Two-factor sign-in")).to_be_visible()
