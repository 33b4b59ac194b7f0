"""What people do beyond the first set-up, each as one flow. Components are proven without a browser; these are long."""

import csv
from pathlib import Path
from uuid import UUID

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import Visitor, visitor_of
from tests.browser.two_factor import give_password, turn_on
from tests.support.console import PASSWORD, Stage
from tests.support.templates import make_template

pytestmark = pytest.mark.long


async def press(visitor: Visitor, opener: str, button: str, **fields: str) -> None:
    """Open what asks back, fill it in, and agree."""
    page = visitor.page
    await page.get_by_text(opener, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    for label, text in fields.items():
        await dialog.get_by_label(label.capitalize()).fill(text)
    await dialog.get_by_role("button", name=button, exact=True).click()


async def test_copy_is_rejected_with_a_comment_mended_compared_approved_and_rolled_back(
    chromium: Browser, ann: Visitor, stage: Stage
) -> None:
    copy_id = await make_template(stage, "acme", review=True)
    await stage.person("Rob", acme="reviewer")
    rob = await visitor_of(chromium, stage.url)
    await rob.signs_in("rob@example.com")
    await rob.page.get_by_role("link", name="Review", exact=True).click()
    await expect(rob.page.locator("del").first).to_contain_text("subject: Hi")
    await press(rob, "Reject…", "Reject", why="Too cold for a welcome")
    await expect(rob.page.get_by_text("sent back to its author.")).to_be_visible()
    await expect(rob.page.get_by_text("Nothing waits for a review")).to_be_visible()

    path, page = f"/acme/templates/welcome/variants/{copy_id}", ann.page
    await ann.goes_to(path)
    history = page.get_by_role("table", name="History")
    await expect(history.get_by_role("row", name="Rejected")).to_contain_text("Too cold for a welcome")
    await page.get_by_label("Subject Line").fill("A warm hello")
    await page.get_by_role("button", name="Save as a draft").click()
    await page.get_by_role("button", name="Send into review").click()
    await expect(page.get_by_text("sent into review.")).to_be_visible()
    await page.get_by_role("link", name="Compare versions").click()
    await page.get_by_label("From version").select_option("1")
    await page.get_by_label("To version").select_option("3")
    await page.get_by_role("button", name="Compare").click()
    changed = page.get_by_role("region", name="Changed lines")
    await expect(changed.locator("ins").first).to_contain_text("A warm hello")
    await expect(page.frame_locator("iframe[title^='Version 3']").get_by_role("heading")).to_be_visible()

    await rob.goes_to(path)
    await press(rob, "Approve…", "Approve", comment="Warm now")
    await expect(rob.page.get_by_text("Warm, version 3: approved.")).to_be_visible()
    await press(rob, "Roll back…", "Roll back", comment="The old one sold more")
    await expect(rob.page.get_by_text("the version before is served again.")).to_be_visible()
    rows = rob.page.get_by_role("table", name="History").get_by_role("row")
    await expect(rows.nth(1)).to_contain_text("Rolled back")
    await expect(rows.nth(1)).to_contain_text("The old one sold more")
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT version FROM variants WHERE copy_id = $1", UUID(str(copy_id))) == 1
    assert rob.complaints == []


async def test_a_variant_that_the_guardrail_paused_is_resumed_and_archived(ann: Visitor, stage: Stage) -> None:
    copy_id = await make_template(stage, "acme", review=True)
    async with stage.db.transaction() as connection:
        await connection.execute("UPDATE variants SET state = 'paused' WHERE copy_id = $1", copy_id)
        await connection.execute(
            "INSERT INTO variant_events (org_id, copy_id, version, event, actor, comment, created_at) "
            "VALUES ($1, $2, 1, 'paused', 'ranker', '1.9 % of 640 left', $3)", stage.orgs["acme"], copy_id, stage.now,
        )  # fmt: skip
    page = ann.page
    await ann.goes_to(f"/acme/templates/welcome/variants/{copy_id}")
    await expect(page.get_by_text("1.9 % of 640 left").first).to_be_visible()
    await press(ann, "Resume…", "Resume", why="The list was old")
    await expect(page.get_by_text("resumed.")).to_be_visible()
    await expect(page.get_by_text("Paused by")).to_have_count(0)
    await press(ann, "Archive…", "Archive")
    await expect(page.get_by_text("archived.").first).to_be_visible()
    await expect(page.get_by_role("button", name="Archive…")).to_have_count(0)
    await expect(page.get_by_role("button", name="Send into review")).to_have_count(1)  # it can come back


async def test_variants_leave_as_csv_and_yaml_and_come_back_changed(ann: Visitor, stage: Stage, tmp_path: Path) -> None:
    await make_template(stage, "acme")
    page = ann.page
    await ann.goes_to("/acme/templates/welcome/file")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download CSV").click()
    [row] = csv.DictReader((await (await coming.value).path()).read_text("utf-8-sig").splitlines(keepends=True))
    sheet = tmp_path / "variants.csv"
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row | {"subject": "From a spreadsheet"})
        writer.writerow(row | {"name": "New", "subject": "Hi {{ first_name }}"})
    await page.get_by_label("CSV file").set_input_files(sheet)
    await page.get_by_role("button", name="Save the rows as drafts").click()
    await expect(page.get_by_text("rows saved as drafts.")).to_be_visible()
    await expect(page.get_by_text("New, was not taken in: subject {{ first_name }} has no fallback")).to_be_visible()
    await expect(page.get_by_role("table", name="Variants")).to_contain_text("From a spreadsheet")

    await ann.goes_to("/acme/templates/welcome/file")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download YAML").click()
    yaml = (await (await coming.value).path()).read_text()
    assert "From a spreadsheet" in yaml
    await page.get_by_label("Template file").fill(yaml.replace("From a spreadsheet", "From a file"))
    await page.get_by_role("button", name="Import the changes").click()
    await ann.goes_to("/acme/templates/welcome")
    await expect(page.get_by_role("table", name="Variants")).to_contain_text("From a file")


async def test_a_reviewer_approves_and_finds_nothing_to_edit(chromium: Browser, stage: Stage) -> None:
    copy_id = await make_template(stage, "acme", review=True)
    await stage.person("Rob", acme="reviewer")
    rob = await visitor_of(chromium, stage.url)
    page = rob.page
    await rob.signs_in("rob@example.com")
    await rob.goes_to(f"/acme/templates/welcome/variants/{copy_id}")
    await expect(page.get_by_label("Subject Line")).to_be_disabled()
    for name in ("Save as a draft", "Send into review", "Archive…"):
        await expect(page.get_by_text(name, exact=True)).to_have_count(0)
    await press(rob, "Approve…", "Approve")
    await expect(page.get_by_text("Warm, version 2: approved.")).to_be_visible()
    await rob.goes_to("/acme/templates/welcome/variants/_new")
    await expect(page.get_by_text("It needs the role editor; yours is reviewer.")).to_be_visible()


async def test_two_factor_sign_in_is_turned_off_by_who_knows_the_password(
    chromium: Browser, ann: Visitor, stage: Stage
) -> None:
    page = ann.page
    codes = await turn_on(ann, stage)
    fresh = await visitor_of(chromium, stage.url)
    await give_password(fresh)
    await fresh.page.get_by_label("Code").fill(codes[0])
    await fresh.page.get_by_role("button", name="Sign in", exact=True).click()
    await fresh.page.wait_for_url("**/acme/")
    await give_password(other := await visitor_of(chromium, stage.url))
    await other.page.get_by_label("Code").fill(codes[0])
    await other.page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(other.page.get_by_role("heading", name="Two-factor sign-in")).to_be_visible()  # a code serves once

    await ann.goes_to("/_account")
    await page.get_by_text("Turn off…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Your password").fill("something else entirely")
    await dialog.get_by_role("button", name="Turn it off").click()
    await expect(page.get_by_text("Nothing was saved.")).to_be_visible()
    await page.get_by_text("Turn off…").click()
    await page.get_by_role("dialog").get_by_label("Your password").fill(PASSWORD)
    await page.get_by_role("dialog").get_by_role("button", name="Turn it off").click()
    await expect(page.get_by_text("Two-factor sign-in is off.")).to_be_visible()
    await (last := await visitor_of(chromium, stage.url)).signs_in()
    assert last.complaints == []
