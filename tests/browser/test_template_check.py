"""Refresh Klaviyo Data and the set-up check, against a Klaviyo account in a box."""

from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import expect

from shared.clock import SystemClock
from tests.browser.conftest import Visitor, browsing
from tests.component.cli.rig import Box
from tests.support.console import Stage, console
from tests.support.templates import make_template

BODY = (
    '{"template_id": "welcome", "user_id": "{{ person.id }}", '
    '"tracking_id": "{{ person.KlaviyoID }}.<flow_id>.<treatment_action_id>", '
    '"fields": {"first_name": "{{ person.first_name }}"}}'
)
FLOW = {
    "id": "FLOW01",
    "name": "Welcome series",
    "actions": [
        {
            "type": "send-webhook", "id": "70000010", "url": "https://copy.example/api/generate/acme", "body": BODY,
            "headers": {"Content-Type": "application/json", "X-Api-Key": "jai_live_cut"},
        },
        {"type": "time-delay", "id": "70000011", "value": 3},
        {"type": "send-email", "id": "70000012", "name": "Email 1", "subject": "Hello", "html": "<p>Hello</p>"},
    ],
}  # fmt: skip


@browsing
async def stage(database_url: str, box: Box) -> AsyncIterator[Stage]:
    async with console(database_url, SystemClock(), dev=True, klaviyo_url=box.url) as running:
        await running.person("Ann", acme="owner")
        yield running


async def connect(ann: Visitor, key: str) -> None:
    status = await ann.page.evaluate(
        """async (key) => (await fetch("/api/v1/orgs/acme/klaviyo", {
            method: "PUT", headers: {"Content-Type": "application/json"}, body: JSON.stringify({private_key: key}),
        })).status""",
        key,
    )
    assert status == 200


async def new_api_key(ann: Visitor) -> str:
    return str(
        await ann.page.evaluate(
            """async () => (await (await fetch("/api/v1/orgs/acme/keys", {
                method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({name: "webhook"}),
            })).json()).key"""
        )
    )


async def test_a_flow_is_read_selected_and_checked_until_nothing_is_wrong(ann: Visitor, stage: Stage, box: Box) -> None:
    page = ann.page
    await make_template(stage, "acme")
    box.ask("POST", "/flows", FLOW)
    await ann.goes_to("/acme/templates/welcome/settings")
    await page.get_by_role("button", name="Refresh Klaviyo Data").click()
    await expect(page.get_by_text("Not connected to Klaviyo yet")).to_be_visible()

    await connect(ann, box.key())
    await page.get_by_role("button", name="Refresh Klaviyo Data").click()
    await expect(page.get_by_text("Read 1 flow with 1 email from Klaviyo.")).to_be_visible(timeout=20_000)
    await page.get_by_label("Flow", exact=True).select_option(label="Welcome series (live)")
    await page.get_by_label("Treatment Message").select_option(label="Email 1 · 3 minutes after the webhook")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_text("Saved. The next webhook uses it.")).to_be_visible()
    texts: dict[str, Any] = {}
    for place in ("Subject Line", "Preview Text"):
        texts[place] = await page.get_by_role("textbox", name=place, exact=True).first.input_value()
    texts["Body"] = await page.get_by_role("region", name="Body (HTML)", exact=True).inner_text()
    body = await page.get_by_role("region", name="JSON body", exact=True).inner_text()

    await page.get_by_role("link", name="Set-up check").click()
    await page.get_by_role("button", name="Check now").click()
    answers = page.locator("#answers")
    await expect(answers).to_contain_text("Use {{ person.KlaviyoID }} in user_id", timeout=30_000)
    await expect(answers).to_contain_text("The Subject Line does not hold the snippet.")
    await expect(answers).to_contain_text("The key may not read email templates.")
    await expect(answers).to_contain_text("X-Api-Key is no JustAI key")
    tones = [str(await one.get_attribute("class")) for one in await answers.locator(".answer").all()]
    assert tones == sorted(tones, key=["answer wrong", "answer warning", "answer unknown", "answer good"].index)
    await expect(answers.get_by_role("link", name="Make the template active")).to_have_count(0)
    assert await ann.faults() == []
    await ann.shoot("templates-checked-1280-light")

    email = {"subject": texts["Subject Line"], "preview_text": texts["Preview Text"], "html": texts["Body"]}
    box.ask("PATCH", "/flows/FLOW01/actions/70000012", email)
    headers = {"Content-Type": "application/json", "X-Api-Key": await new_api_key(ann)}
    box.ask("PATCH", "/flows/FLOW01/actions/70000010", {"body": body, "headers": headers})
    await connect(ann, box.key("flows:read", "profiles:write", "templates:read"))
    await page.get_by_role("button", name="Check now").click()
    await expect(answers).to_contain_text("Nothing is wrong.", timeout=30_000)
    await expect(answers).to_contain_text("The Body holds the snippet.")
    await expect(answers.get_by_role("link", name="Make the template active")).to_be_visible()
    await ann.shoot("templates-checked-well-1280-light")
