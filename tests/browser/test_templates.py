"""Templates and variants in a browser: from an empty list to approved copy, set up as the integration page says."""

import re

from playwright.async_api import Browser, expect

from tests.browser.conftest import Visitor, visitor_of
from tests.support.console import Stage
from tests.support.templates import make_template, read_flows

BODY = "<h1>Hello {{ first_name | default: 'there' }}</h1>\n<p>Your first bag is on its way.</p>"


async def new_template(ann: Visitor) -> None:
    page = ann.page
    await ann.goes_to("/acme/templates")
    await page.get_by_role("link", name="New template").first.click()
    await page.get_by_label("Name", exact=True).fill("Welcome, first email")
    await page.get_by_label("Template id").fill("welcome-1")
    await page.get_by_label("Subject Line").fill("Welcome to Acme")
    await page.get_by_label("Body (HTML)").fill("<p>Welcome.</p>")
    await page.get_by_role("button", name="Create the template").click()
    await page.wait_for_url("**/templates/welcome-1/settings")


async def test_a_template_is_made_set_up_written_and_approved(ann: Visitor, stage: Stage) -> None:
    page = ann.page
    await read_flows(stage, "acme")
    await new_template(ann)

    await page.get_by_label("Flow", exact=True).select_option(label="Welcome series (live)")
    await page.get_by_label("Treatment Message").select_option(value="70000012")
    await page.get_by_label("Control Message").select_option(value="70000015")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_text("Saved. The next webhook uses it.")).to_be_visible()
    body = page.get_by_role("region", name="JSON body", exact=True)
    await expect(body).to_contain_text("{{ person.KlaviyoID }}.FLOW01.70000012")
    await page.get_by_role("button", name="Copy Subject Line").click()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("{% if person|lookup:'jai_for' == 'welcome-1.FLOW01.70000012'")

    await page.get_by_role("link", name="Variants", exact=True).click()
    await page.get_by_role("link", name="New variant").first.click()
    await page.get_by_label("Name", exact=True).fill("Warm")
    await page.get_by_label("Subject Line").fill("Hi ")
    await page.get_by_role("button", name="first_name").click()
    await page.get_by_label("Preview Text").fill("A preview text that fills the place it has, no more")
    await page.get_by_label("Body", exact=True).fill(BODY)
    await expect(page.locator("#findings .inbox-subject")).to_have_text("Hi Ada")
    await expect(page.frame_locator("iframe[name=preview]").get_by_role("heading")).to_have_text("Hello Ada")
    await page.get_by_label("For", exact=True).select_option(label="Somebody without any field")
    await expect(page.locator("#findings .inbox-subject")).to_have_text("Hi there")
    await expect(page.frame_locator("iframe[name=preview]").get_by_role("heading")).to_have_text("Hello there")
    await page.get_by_role("button", name="Save as a draft").click()
    await expect(page.get_by_text("Saved Warm: draft.")).to_be_visible()

    await page.get_by_role("button", name="Send into review").click()
    await expect(page.get_by_text("Warm, version 1: sent into review.")).to_be_visible()
    await page.get_by_role("link", name="Review", exact=True).click()
    await page.get_by_text("Approve…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_text("Warm, version 1: approved.")).to_be_visible()
    await expect(page.get_by_text("Nothing waits for a review")).to_be_visible()

    await ann.goes_to("/acme/templates/welcome-1")
    await page.get_by_text("Activate…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Activate").click()
    await expect(page.get_by_text("Welcome, first email is active.")).to_be_visible()
    await page.get_by_text("Stop…").click()
    await page.get_by_role("dialog").get_by_label("Why").fill("A wrong price")
    await page.get_by_role("dialog").get_by_role("button", name="Stop it now").click()
    await expect(page.get_by_text("A wrong price")).to_be_visible()
    await page.get_by_text("Resume…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    await expect(page.get_by_text("The stop is over")).to_be_visible()


async def test_checks_say_what_is_wrong_while_it_is_written(ann: Visitor, stage: Stage) -> None:
    page = ann.page
    await make_template(stage, "acme")
    await ann.goes_to("/acme/templates/welcome/variants/_new")
    await page.get_by_label("Name", exact=True).fill("Bold")
    await page.get_by_label("Subject Line").fill("Hi {{ first_name }}")
    await page.get_by_label("Body", exact=True).fill("<p>x</p>")

    await expect(page.locator("#findings")).to_contain_text("has no fallback")
    await page.get_by_role("button", name="Save as a draft").click()
    await expect(page.get_by_text("Nothing was saved.")).to_be_visible()
    await expect(page.get_by_label("Subject Line")).to_have_value("Hi {{ first_name }}")


async def test_without_script_copy_is_written_previewed_and_approved(chromium: Browser, stage: Stage) -> None:
    await make_template(stage, "acme")
    await read_flows(stage, "acme")
    visitor = await visitor_of(chromium, stage.url, width=390, js=False)
    page = visitor.page
    await visitor.signs_in()
    await visitor.goes_to("/acme/templates/welcome/settings")
    await page.get_by_label("Flow", exact=True).select_option(label="Welcome series (live)")
    await page.get_by_role("button", name="Show this flow's emails").click()
    await page.get_by_label("Treatment Message").select_option(value="70000012")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_text("Saved. The next webhook uses it.")).to_be_visible()

    await visitor.goes_to("/acme/templates/welcome/variants/_new")
    await page.get_by_label("Name", exact=True).fill("Plain")
    await page.get_by_label("Subject Line").fill("Your coffee")
    await page.get_by_label("Body", exact=True).fill("<p>Plain words about a kettle.</p>")
    await page.get_by_role("button", name="Show the preview").click()
    await expect(page.frame_locator("iframe[name=preview]").get_by_text("Plain words")).to_be_visible()
    await page.get_by_role("button", name="Save as a draft").click()
    await expect(page.get_by_text("Saved Plain: draft.")).to_be_visible()
    await page.get_by_text("Approve…").click()
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_text("Plain, version 1: approved.")).to_be_visible()


async def test_what_strangers_wrote_runs_nothing_in_the_preview(ann: Visitor, stage: Stage) -> None:
    await make_template(stage, "acme")
    page = ann.page
    await ann.goes_to("/acme/templates/welcome/variants/_new")
    evil = '<p>Mail</p><script>parent.hit = 1</script><img src="https://x.example/x.png" onerror="parent.hit = 1">'
    await page.get_by_label("Subject Line").fill("Hello")
    await page.get_by_label("Body", exact=True).fill(evil)

    await expect(page.frame_locator("iframe[name=preview]").get_by_text("Mail")).to_be_visible()
    await expect(page.locator("#findings")).to_contain_text("script")
    assert await page.evaluate("window.hit") is None
    assert await page.locator("iframe[name=preview]").get_attribute("sandbox") == ""
    ann.complaints.clear()  # the picture is nowhere


async def test_the_list_is_searched_while_it_is_typed(ann: Visitor, stage: Stage) -> None:
    for number in range(60):
        await make_template(stage, "acme", f"t-{number}", name=f"Template {number:02}", variant=False)
    page = ann.page
    await ann.goes_to("/acme/templates")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("link", name="Older").click()
    await expect(rows).to_have_count(10)

    await ann.goes_to("/acme/templates")
    await page.get_by_label("Name or id").fill("Template 4")
    await expect(rows).to_have_count(10)
    await page.get_by_label("State").select_option("archived")
    await expect(page.get_by_text("Nothing found")).to_be_visible()


async def test_the_keyboard_alone_saves_a_variant_and_changes_the_device(ann: Visitor, stage: Stage) -> None:
    copy_id = await make_template(stage, "acme")
    page = ann.page
    await ann.goes_to(f"/acme/templates/welcome/variants/{copy_id}")
    await page.get_by_label("Desktop").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_label("Phone")).to_be_checked()
    box = await page.locator("iframe[name=preview]").bounding_box()
    assert box is not None
    assert box["width"] <= 375
    await page.get_by_label("Subject Line").focus()
    await page.keyboard.type("!")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text(re.compile("Saved Warm: draft"))).to_be_visible()
