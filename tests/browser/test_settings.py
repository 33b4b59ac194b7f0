"""Org Integration Settings and API keys, as the public page's steps name them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Browser, expect

from shared.clock import SystemClock
from tests.browser.conftest import Visitor, browsing, visitor_of
from tests.component.cli.rig import Box
from tests.support.console import Stage, console


@browsing
async def stage(database_url: str, box: Box) -> AsyncIterator[Stage]:
    """A console whose Klaviyo is an account in a box."""
    async with console(database_url, SystemClock(), dev=True, klaviyo_url=box.url) as running:
        await running.staff()
        yield running


async def save_key(ann: Visitor, key: str) -> None:
    """The first one, or one in its place, whose form is folded."""
    await ann.goes_to("/acme/integration")
    rotate = ann.page.get_by_text("Rotate the key", exact=True)
    if await rotate.count():
        await rotate.click()
    await ann.page.get_by_label("Klaviyo private API key", exact=True).fill(key)
    await ann.page.get_by_role("button", name="Save").click()


async def test_a_key_is_verified_saved_and_shown_as_its_last_four(ann: Visitor, box: Box) -> None:
    page, key = ann.page, box.key()
    await ann.goes_to("/acme/")
    await page.get_by_role("link", name="Org Integration Settings", exact=True).click()
    await expect(page.get_by_role("heading", name="Org Integration Settings", exact=True)).to_be_visible()
    await ann.shoot("integration-empty-1280-light")
    await expect(page.get_by_label("ESP integration")).to_have_value("klaviyo")
    await page.get_by_label("Klaviyo private API key", exact=True).fill(key)
    await page.get_by_role("button", name="Verify").click()

    verified = page.get_by_role("table", name="What the verified key may do")
    await expect(verified.get_by_role("row", name="Profiles: Write")).to_contain_text("Has it")
    await expect(verified.get_by_role("row", name="Accounts: Read")).to_contain_text("The account's name stays unknown")
    await expect(page.get_by_text("Nothing is stored yet.")).to_be_visible()
    assert await ann.faults() == []
    await ann.shoot("integration-verified-1280-light")

    await page.get_by_role("button", name="Save").click()  # the field still holds what was pasted
    await expect(page.get_by_text(f"Connected with the key that ends in {key[-4:]}.")).to_be_visible()
    await expect(page.get_by_role("table", name="What the stored key may do")).to_be_visible()
    assert key not in await page.content()
    await page.get_by_role("button", name="Verify again").click()
    await expect(page.get_by_text(f"The stored key ending in {key[-4:]} is accepted")).to_be_visible()


async def test_a_key_that_klaviyo_refuses_is_not_saved(ann: Visitor) -> None:
    await save_key(ann, "pk_0000000000000000000000000000000000")

    await expect(ann.page.get_by_text("is not taken by Klaviyo")).to_be_visible()
    await expect(ann.page.get_by_role("heading", name="Connect", exact=True)).to_be_visible()
    await ann.shoot("integration-refused-1280-light")


async def test_a_key_is_rotated_only_for_one_that_may_as_much_unless_it_is_wanted(ann: Visitor, box: Box) -> None:
    page = ann.page
    await save_key(ann, box.key())
    less = box.key("profiles:write")
    await save_key(ann, less)
    await expect(page.get_by_text("the new key lacks campaigns:read, flows:read, metrics:read")).to_be_visible()
    await page.get_by_label("Klaviyo private API key", exact=True).fill(less)
    await page.get_by_label("Take it anyway").check()
    await page.get_by_role("button", name="Save").click()

    await expect(page.get_by_text(f"Connected with the key that ends in {less[-4:]}.")).to_be_visible()
    row = page.get_by_role("table", name="What the stored key may do").get_by_role("row", name="Flows: Read")
    await expect(row).to_contain_text("Missing")


async def test_without_script_a_key_is_verified_and_saved(chromium: Browser, stage: Stage, box: Box) -> None:
    visitor = await visitor_of(chromium, stage.url, width=390, js=False)
    await visitor.signs_in()
    await visitor.goes_to("/acme/integration")
    key, page = box.key(), visitor.page
    await page.get_by_label("Klaviyo private API key", exact=True).fill(key)
    await page.get_by_role("button", name="Verify").click()
    await expect(page.get_by_text("Paste the key once more to save it")).to_be_visible()
    await page.get_by_label("Klaviyo private API key", exact=True).fill(key)
    await page.get_by_role("button", name="Save").click()

    await expect(page.get_by_text(f"Connected with the key that ends in {key[-4:]}.")).to_be_visible()


async def test_an_api_key_is_shown_once_rotated_with_overlap_and_revoked(ann: Visitor) -> None:
    page = ann.page
    await ann.goes_to("/acme/keys")
    await ann.shoot("keys-empty-1280-light")
    await page.get_by_label("Name").fill("Klaviyo webhook")
    await page.get_by_role("button", name="Create key").click()
    made = await page.get_by_label("API key", exact=True).input_value()
    await ann.shoot("keys-made-1280-light")
    await ann.goes_to("/acme/keys")
    assert made.startswith("jai_")
    assert made not in await page.content()

    row = page.get_by_role("row", name="Klaviyo webhook")
    await row.get_by_text("Rotate…").click()
    dialog = page.get_by_role("dialog", name="Rotate Klaviyo webhook?")
    await ann.shoot("keys-rotate-1280-light")
    await dialog.get_by_role("button", name="Make a new key").click()
    await expect(page.get_by_text("Put the new one into every webhook before.")).to_be_visible()
    await ann.goes_to("/acme/keys")
    table = page.get_by_role("table", name="API keys in use")
    await expect(table.get_by_role("row")).to_have_count(3)

    await table.get_by_role("row").nth(1).get_by_text("Revoke…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(page.get_by_text("it is refused everywhere within 5 seconds")).to_be_visible()
    await expect(table.get_by_role("row")).to_have_count(2)
    await page.get_by_text("1 ended").click()
    await ann.shoot("keys-ended-1280-light")
    assert await ann.faults() == []


async def test_what_is_set_up_fits_its_screen(ann: Visitor, box: Box) -> None:
    await save_key(ann, box.key("profiles:write", "flows:read", "accounts:read"))
    await expect(ann.page.get_by_role("table", name="What the stored key may do")).to_be_visible()
    await ann.goes_to("/acme/keys")
    await ann.page.get_by_label("Name").fill("Klaviyo webhook")
    await ann.page.get_by_role("button", name="Create key").click()

    faults = await ann.look("integration-set", "/acme/integration") | await ann.look("keys-set", "/acme/keys")

    assert faults == {}


async def test_troubleshooting_answers_each_item_and_leads_to_what_mends_it(
    chromium: Browser, ann: Visitor, stage: Stage, box: Box
) -> None:
    page = ann.page
    await ann.goes_to("/acme/troubleshooting")
    properties = page.get_by_role("region", name="Profile properties empty")
    await expect(properties).to_contain_text("Klaviyo is not connected.")
    await properties.get_by_role("link", name="Org Integration Settings").click()
    await expect(page.get_by_label("Klaviyo private API key", exact=True)).to_be_visible()
    await save_key(ann, box.key("profiles:write", "flows:read"))
    await ann.goes_to("/acme/troubleshooting")
    await page.get_by_role("button", name="Refresh Klaviyo Data").click()
    await expect(page.get_by_text("Klaviyo data is refreshed")).to_be_visible()
    await expect(properties).to_contain_text("has the scope Profiles: Write")
    showing = page.get_by_role("region", name="Flows/campaigns not showing in JustAI")
    await expect(showing).to_contain_text("The key lacks the scope Campaigns: Read. Campaigns are not listed.")

    await set_trouble(stage)
    await page.get_by_role("link", name="Check again").click()
    webhook = page.get_by_role("region", name="Webhook not firing")
    await expect(webhook).to_contain_text("Flow 'Win-back', template winback: the flow is draft, not live.")
    await expect(webhook).to_contain_text("Flow 'Welcome series', template welcome: live, last webhook 5 minutes ago.")
    await expect(page.get_by_role("region", name="Wrong profile ID")).to_contain_text(
        "ann@example.com (template welcome)"
    )
    await expect(properties).to_contain_text("only 1 minute between the webhook and the email")
    assert await ann.faults() == []
    await ann.shoot("troubleshooting-set-1280-light")
    phone = await visitor_of(chromium, ann.url, width=390, scheme="dark")
    await phone.signs_in("cleo@example.com")
    await phone.goes_to("/acme/troubleshooting")
    await expect(phone.page.get_by_role("button", name="Refresh Klaviyo Data")).to_have_count(0)
    await phone.shoot("troubleshooting-set-390-dark")


async def set_trouble(stage: Stage) -> None:
    """One flow that works but is quick, one in draft; webhooks, one of them with an email as its id."""
    org_id, now = stage.orgs["acme"], SystemClock().now()
    async with stage.db.transaction() as connection:
        for table in ("generations", "write_outcomes"):
            for day in (now.date(), (now - timedelta(days=1)).date()):
                await connection.execute("SELECT ensure_partition($1, $2)", table, day)
        for name, flow, status, delay_s in (
            ("welcome", "Welcome series", "live", 60),
            ("winback", "Win-back", "draft", 240),
        ):
            await connection.execute(
                "INSERT INTO flow_messages VALUES ($1, $2, $3, $4, 'A1', $2, 'Email', $5, $6)",
                org_id, f"F-{name}", flow, status, delay_s, now,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO templates (org_id, template_id, name, state, flow_id, treatment_action_id, created_at, "
                "updated_at) VALUES ($1, $2, $2, 'active', $3, 'A1', $4, $4)", org_id, name, f"F-{name}", now,
            )  # fmt: skip
        for user_id, outcome, reason in (
            ("01HV0000000000000000000001", "written", None), ("01HV0000000000000000000002", "expired", "quota"),
            ("ann@example.com", "rejected", "profile_id_invalid"),
        ):  # fmt: skip
            generation_id, at = uuid4(), now - timedelta(minutes=5)
            await connection.execute(
                "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, "
                "deadline_at, clean_at, decision, reason, property_prefix, written_for) "
                "VALUES ($1, $2, $3, 'welcome', $4, 't', $5, $5, $5, 'treatment', 'uniform', 'jai', 'F.A')",
                at.date(), generation_id, org_id, user_id, at,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO write_outcomes (day, generation_id, org_id, outcome, reason, at, attempts) "
                "VALUES ($1, $2, $3, $4, $5, $6, 1)", at.date(), generation_id, org_id, outcome, reason, at,
            )  # fmt: skip


CONFIG = """
org: {time_zone: Europe/Paris}
rules: {banned_words: [cheap, best in town]}
---
template_id: welcome
name: Welcome
control: {subject: Hello, body: "<p>Hello</p>\\n<p>Good to have you.</p>\\n"}
variants:
  - {name: Warm, theme: warmth, approved: true, subject: Come in, body: <p>Come in and have a seat.</p>}
"""


@pytest.mark.parametrize("js", [True, False])
async def test_a_configuration_file_is_looked_at_and_applied(
    chromium: Browser, stage: Stage, tmp_path: Path, js: bool
) -> None:
    ann, file = await visitor_of(chromium, stage.url, js=js), tmp_path / "acme.yaml"
    page = ann.page
    await ann.signs_in()

    async def look(text: str) -> None:
        file.write_text(text)
        await ann.goes_to("/acme/integration/config")
        await page.get_by_label("Files", exact=True).set_input_files(file)
        await page.get_by_role("button", name="Show what would change").click()

    await look(CONFIG.replace("banned_words", "baned_words").replace("name: Welcome", "nam: x"))
    await expect(page.get_by_role("list", name="What is wrong").get_by_role("listitem")).to_have_count(3)
    await look(CONFIG)
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_text("Applied: 2 created, 2 changed.")).to_be_visible()
    await look(
        CONFIG.replace("Good to", "So good to").replace("Come in and", "Do come in and").replace("Paris", "Rome")
    )
    await expect(page.get_by_role("heading", name="What would change")).to_be_visible()
    if js:
        assert await ann.see("config-plan") | await ann.look("config", "/acme/integration/config") == {}
    else:
        await page.get_by_role("button", name="Apply").click()
        await expect(page.get_by_text("Applied: 3 changed.")).to_be_visible()
