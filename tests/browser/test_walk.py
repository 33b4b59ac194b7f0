"""The public page's steps, word by word, in a browser: from an empty database to the right email, and on to a result
and a month of records. Every service is a process and Klaviyo an account in a box, all on one clock that runs ten times
as fast.

Whatever is pasted into Klaviyo is taken from what the console shows. After the link that the console prints when nobody
is there yet, the walk goes only where a page leads: a marketer types no address.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from demo.world import World, open_world
from devstack import Endpoints
from tests.browser.conftest import browsing, visitor_of
from tests.browser.walking import (
    PEOPLE,
    Klaviyo,
    before_you_start,
    check_and_go_live,
    configure_template_in_justai,
    configure_the_email_template,
    configure_the_webhook,
    create_a_justai_api_key,
    create_a_template,
    export_a_month,
    have_them_approved,
    home_says,
    join_as_reviewer,
    link_of_the_first_start,
    nav,
    private_key_for,
    save_the_klaviyo_key,
    see_a_result,
    write_two_variants,
)

pytestmark = pytest.mark.timeout(300)
FACTOR = 10.0


@browsing
async def world(endpoints: Endpoints, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(endpoints, tmp_path, factor=FACTOR, echo=None, colour=False) as running:
        yield running


@browsing
async def klaviyo(world: World) -> AsyncIterator[Klaviyo]:
    async with aiohttp.ClientSession() as http:
        yield Klaviyo(world, http)


async def test_the_public_page_is_followed_to_the_right_email_a_result_and_a_month_of_records(
    chromium: Browser, world: World, klaviyo: Klaviyo
) -> None:
    await klaviyo.open()
    visitor = await visitor_of(chromium, world.console_url)
    page = visitor.page
    await visitor.goes_to(link_of_the_first_start(world))
    await before_you_start(page)
    await save_the_klaviyo_key(page, klaviyo.private_key)
    api_key = await create_a_justai_api_key(page)
    await create_a_template(page)
    await configure_template_in_justai(page)
    await write_two_variants(page)
    reviewer = await visitor_of(chromium, world.console_url, width=390)
    await join_as_reviewer(page, reviewer.page)
    await have_them_approved(reviewer.page)
    await configure_the_webhook(page, klaviyo, api_key)
    await configure_the_email_template(page, klaviyo)
    await check_and_go_live(page)

    names = await klaviyo.people_enter("Zoë", *(f"Person {n}" for n in range(PEOPLE - 1)))

    emails = await klaviyo.emails()
    assert len(emails) == PEOPLE
    assert {email["outcome"] for email in emails} == {"right"}
    for email in emails:
        shown, name = await klaviyo.read(email), names[email["profile_id"]]
        assert shown["subject"] in {f"{name}, your first bag is on its way", f"Coffee for {name}"}
        assert f"<h1>Hello {name}</h1>" in shown["html"]
        assert "{{" not in shown["html"]
    assert len({email["subject"].replace(names[email["profile_id"]], "") for email in emails}) == 2

    await see_a_result(page, world, klaviyo, private_key_for(world))
    await visitor.shoot("walk-result")
    await export_a_month(page, world)
    await visitor.shoot("walk-exported")
    await nav(page, "Home")
    await expect(page.get_by_role("region", name="Set up")).to_have_count(0)
    await expect(page.get_by_role("region", name="What emails showed")).to_contain_text(f"{PEOPLE}")
    await visitor.shoot("walk-home")
    assert visitor.complaints == reviewer.complaints == []


PLANS = """plan:
  kind: string
  options:
    free: []
    pro: [professional]
  default: free
"""


@pytest.mark.long
async def test_on_a_phone_attributes_and_a_split_of_klaviyos_lead_to_the_right_email_on_both_branches(
    chromium: Browser, world: World, klaviyo: Klaviyo
) -> None:
    await klaviyo.open(split=0.6)
    visitor = await visitor_of(chromium, world.console_url, width=390, scheme="dark")
    page = visitor.page
    await visitor.goes_to(link_of_the_first_start(world))
    await before_you_start(page)
    await save_the_klaviyo_key(page, klaviyo.private_key, emails="2 emails")
    await page.get_by_role("link", name="Attributes", exact=True).click()
    await page.get_by_label("Definitions").fill(PLANS)
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("1 attribute defined")).to_be_visible()
    api_key = await create_a_justai_api_key(page)
    await create_a_template(page)
    await configure_template_in_justai(page, control="Control email")
    await write_two_variants(page)
    await have_them_approved(page)
    await home_says(page, "Welcome email")
    body = page.get_by_role("region", name="JSON body", exact=True)
    await expect(body).to_contain_text("person|lookup:'plan'")
    await configure_the_webhook(page, klaviyo, api_key)
    await configure_the_email_template(page, klaviyo)
    await check_and_go_live(page)

    names = await klaviyo.people_enter(*(f"Person {n}" for n in range(PEOPLE)), plan=("Professional", "free"))

    treated = {email["profile_id"]: email for email in await klaviyo.emails()}
    assert 0 < len(treated) < PEOPLE
    for profile_id, name in names.items():
        email = treated.get(profile_id)
        if email is not None:
            shown = await klaviyo.read(email)
            assert email["outcome"] == "right"
            assert shown["subject"] in {f"{name}, your first bag is on its way", f"Coffee for {name}"}
            assert f"<h1>Hello {name}</h1>" in shown["html"]
        else:
            at = next(iter(treated.values()))["sent_at"]
            asked = {"profile_id": profile_id, "message_id": klaviyo.control_message_id, "sent_at": at}
            shown = await klaviyo.read(asked)
            assert (shown["subject"], shown["html"]) == ("Your weekly update", "<p>The week at Acme.</p>")

    cells = await world.database.fetch("SELECT user_id, cell FROM generations")
    plans = {profile_id: ("pro", "free")[number % 2] for number, profile_id in enumerate(names)}
    assert {row["user_id"]: row["cell"] for row in cells} == {one: f"plan={plans[one]}" for one in treated}
    await nav(page, "Operations")
    await page.get_by_role("link", name="One person", exact=True).click()
    await page.get_by_label("Klaviyo profile id or generation id").fill(next(iter(treated)))
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Why this copy").first.click()
    await expect(page.get_by_text(f"plan={plans[next(iter(treated))]}", exact=True)).to_be_visible()
    assert await visitor.faults() == []
    assert visitor.complaints == []
