"""The steps of the public page as a marketer takes them in the console, and the customer's own screens in Klaviyo.

A step goes only where a page leads, by a click: nobody types an address. They work at any width.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.fs
import pyarrow.parquet
from playwright.async_api import Page, expect

from demo.world import World
from tests.support.console import PASSWORD
from tests.support.waiting import eventually

AN_HOUR_S, A_DAY_S = 3600, 86_400
PEOPLE = 40
SUBJECTS = {
    "Warm": "{{ first_name | default: 'there' }}, your first bag is on its way",
    "Short": "Coffee for {{ first_name | default: 'you' }}",
}
BODY = "<h1>Hello {{ first_name | default: 'there' }}</h1><p>Your <a href='https://acme.example/bag'>first bag</a>.</p>"
CONTROL_EMAIL = {
    "type": "send-email", "name": "Control email", "subject": "Your weekly update", "html": "<p>The week at Acme.</p>",
}  # fmt: skip


class Klaviyo:
    """The customer's own screens in Klaviyo: one flow as the page draws it, filled in by hand."""

    def __init__(self, world: World, http: aiohttp.ClientSession) -> None:
        self._url, self._http = world.simulator_url, http
        self.private_key = ""
        self._account, self._flow = "", ""
        self._steps: dict[str, str] = {}
        self.control_message_id = ""

    async def open(self, *, split: float = 1.0) -> None:
        """Flow Structure: trigger → Webhook step → Time Delay → Email step; nothing is configured yet. With a `split`
        so many people go that way, and the others straight to an email of the customer's own."""
        account = await self._ask("POST", "/_sim/accounts", {"name": "Acme Coffee"})
        self._account = f"/_sim/accounts/{account['id']}"
        # Create a Klaviyo API Key: Settings → API Keys → Create Private API Key, with the four scopes of the page.
        self.private_key = (await self._ask("POST", f"{self._account}/keys", {"scopes": "page"}))["key"]
        await self._ask("PUT", f"{self._account}/behaviour", {"open": 0.8, "click": 0.7, "open_after_s": 60})
        webhook = {"type": "send-webhook", "url": "https://example.com", "headers": {}, "body": "{}"}
        delay = {"type": "time-delay", "unit": "minutes", "value": 2}
        email = {"type": "send-email", "name": "Welcome email", "subject": "-", "html": "-"}
        actions: list[dict[str, Any]] = [webhook, delay, email]
        if split < 1:
            actions.insert(0, {"type": "conditional-split", "share": split, "otherwise": [dict(CONTROL_EMAIL)]})
        flow = await self._ask("POST", f"{self._account}/flows", {"name": "Welcome series", "actions": actions})
        self._flow = f"{self._account}/flows/{flow['id']}"
        self._steps = {one["type"]: str(one["id"]) for one in reversed(flow["actions"])}
        self.control_message_id = str(flow["actions"][-1]["message_id"])

    async def fill_in(self, kind: str, **fields: object) -> None:
        await self._ask("PATCH", f"{self._flow}/actions/{self._steps[kind]}", fields)

    async def people_enter(self, *first_names: str, **properties: Sequence[str]) -> dict[str, str]:
        """Added to List; the names by profile id, when everybody's email has left. Of each property they have a value
        in turn."""
        profiles = [
            {"email": f"p{n}@people.example", "first_name": name,
             "properties": {key: values[n % len(values)] for key, values in properties.items()}}
            for n, name in enumerate(first_names)
        ]  # fmt: skip
        made = await self._ask("POST", f"{self._account}/profiles", {"profiles": profiles})
        await self._ask("POST", f"{self._flow}/trigger", {"profile_ids": made["ids"], "spread_s": 10})

        async def all_have_their_email() -> bool:
            progress = await self._ask("GET", f"{self._flow}/progress")
            return bool(progress["finished"] >= len(first_names))

        await eventually(all_have_their_email, within_s=60, every_s=0.2)
        return dict(zip(made["ids"], first_names, strict=True))

    async def emails(self) -> list[dict[str, Any]]:
        """What each email showed, judged by the box."""
        rows = (await self._ask("GET", f"{self._account}/outcomes?rows=1"))["rows"]
        return [dict(row) for row in rows]

    async def read(self, email: Mapping[str, Any]) -> dict[str, str]:
        """The email as its reader got it."""
        asked = {"profile_id": email["profile_id"], "message_id": email["message_id"], "at": email["sent_at"]}
        return dict(await self._ask("POST", f"{self._account}/render", asked))

    async def export_events(self) -> None:
        await self._ask("POST", f"{self._account}/export", {"folder": ".", "layout": "nested", "format": "csv"})

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body)
        async with self._http.request(method, self._url + path, data=data) as response:
            answer = await response.json()
            assert response.status < 400, (method, path, answer)
            return answer


def link_of_the_first_start(world: World) -> str:
    log = (world.run_dir / "logs" / "console.log").read_text()
    found = re.search(r"(/_setup/[A-Za-z0-9_-]+)", log)
    assert found is not None
    return found[1]


def private_key_for(world: World) -> str:
    return Path(world.endpoints.sftp_client_key_path).read_text()


async def nav(page: Page, name: str) -> None:
    """To an area of the console, through the menu where there is one."""
    menu = page.get_by_label("Menu", exact=True)
    if await menu.is_visible():
        await menu.click()
    await page.get_by_role("navigation", name="Console").get_by_role("link", name=name, exact=True).click()


async def home_says(page: Page, link: str) -> None:
    """Go home and take the next step it offers."""
    await nav(page, "Home")
    await page.get_by_role("region", name="Set up").get_by_role("link").first.click()
    await expect(page).to_have_title(re.compile(re.escape(link)))


async def before_you_start(page: Page) -> None:
    for label, text in {
        "Name of your org": "Acme Coffee", "Org slug": "acme", "Your name": "Ann Example",
        "Your email": "ann@example.com", "Password": PASSWORD, "Password again": PASSWORD,
    }.items():  # fmt: skip
        await page.get_by_label(label, exact=True).fill(text)
    await page.get_by_role("button", name="Create the account").click()
    await expect(page.get_by_role("region", name="Set up")).to_contain_text("0 of 11 done")


async def save_the_klaviyo_key(page: Page, private_key: str, *, emails: str = "1 email") -> None:
    """2) Open Org Integration Settings. Select Klaviyo as the ESP integration. Paste the private API key and save.
    Flows are read at once."""
    await home_says(page, "Org Integration Settings")
    await page.get_by_label("ESP integration").select_option(label="Klaviyo")
    await page.get_by_label("Klaviyo private API key", exact=True).fill(private_key)
    await page.get_by_role("button", name="Verify", exact=True).click()
    await expect(page.get_by_text("Nothing is stored yet.")).to_be_visible(timeout=20_000)
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text(f"Connected with the key that ends in {private_key[-4:]}.")).to_be_visible()
    await expect(page.get_by_text(f"Read 1 flow with {emails} from Klaviyo.")).to_be_visible()


async def create_a_justai_api_key(page: Page) -> str:
    """3) Create a JustAI API Key. Store the key securely."""
    await home_says(page, "API keys")
    await page.get_by_label("Name", exact=True).fill("Klaviyo webhook")
    await page.get_by_role("button", name="Create key").click()
    return await page.get_by_role("textbox", name="API key").input_value()


async def create_a_template(page: Page) -> None:
    await home_says(page, "New template")
    await page.get_by_label("Name", exact=True).fill("Welcome email")
    await page.get_by_label("Template id").fill("welcome")
    await page.get_by_label("Subject Line").fill("Your weekly update")
    await page.get_by_label("Body (HTML)").fill("<p>The week at Acme.</p>")
    await page.get_by_role("button", name="Create the template").click()


async def write_two_variants(page: Page) -> None:
    await home_says(page, "New variant")
    for name, subject in SUBJECTS.items():
        if name == "Short":
            await page.get_by_role("link", name="Variants", exact=True).click()
            await page.get_by_role("link", name="New variant").first.click()
        await page.get_by_label("Name", exact=True).fill(name)
        await page.get_by_label("Subject Line").fill(subject)
        await page.get_by_label("Body", exact=True).fill(BODY)
        await page.get_by_role("button", name="Save for review").click()
        await expect(page.get_by_text(f"{name}, version 1: sent into review.")).to_be_visible()


async def join_as_reviewer(page: Page, reviewer: Page) -> None:
    """Somebody is invited by who is there, opens the link on a machine of their own, and joins."""
    await nav(page, "People")
    await page.get_by_label("Email", exact=True).fill("ben@example.com")
    await page.get_by_role("region", name="Invite somebody").get_by_role("radio", name="Reviewer").check()
    await page.get_by_role("button", name="Make an invitation link").click()
    await reviewer.goto(await page.get_by_role("textbox", name="invitation link").input_value())
    for label, text in {"Your name": "Ben", "Password": PASSWORD, "Password again": PASSWORD}.items():
        await reviewer.get_by_label(label, exact=True).fill(text)
    await reviewer.get_by_role("button", name="Create the account and join").click()


async def have_them_approved(page: Page) -> None:
    await home_says(page, "Review")
    for name in SUBJECTS:
        await page.get_by_text("Approve…").first.click()
        await page.get_by_role("dialog").get_by_role("button", name="Approve", exact=True).click()
        await expect(page.get_by_text(f"{name}, version 1: approved.")).to_be_visible()


async def configure_template_in_justai(page: Page, *, control: str = "") -> None:
    """Open the template's Integration Settings. Select the Flow. Select the Treatment Message. Save changes. Of an
    external split, select the Control Message too."""
    await home_says(page, "Welcome email")
    await page.get_by_label("Flow", exact=True).select_option(label="Welcome series (live)")
    await page.get_by_label("Treatment Message").select_option(label="Welcome email · no webhook before it")
    if control:
        await page.get_by_label("Control Message").select_option(label=f"{control} · no webhook before it")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_text("Saved. The next webhook uses it.")).to_be_visible()


async def configure_the_webhook(page: Page, klaviyo: Klaviyo, api_key: str) -> None:
    """Destination URL, Headers, JSON Body: as the console shows them, with the key in its place."""
    await home_says(page, "Welcome email")
    await expect(page.get_by_text("The API key that you stored: Klaviyo webhook")).to_be_visible()
    content_type = await page.get_by_role("textbox", name="Content-Type header").input_value()
    headers = {"Content-Type": content_type, "X-Api-Key": api_key}
    await klaviyo.fill_in(
        "send-webhook",
        url=await page.get_by_role("textbox", name="Destination URL").input_value(),
        headers=headers,
        body=await page.get_by_role("region", name="JSON body", exact=True).inner_text(),
    )


async def configure_the_email_template(page: Page, klaviyo: Klaviyo) -> None:
    """Subject Line, Preview Text, Body (HTML)."""
    snippet = page.get_by_role("region", name="Email snippet")
    await klaviyo.fill_in(
        "send-email",
        subject=await snippet.get_by_role("textbox", name="Subject Line").input_value(),
        preview_text=await snippet.get_by_role("textbox", name="Preview Text").input_value(),
        html=await snippet.get_by_role("region", name="Body (HTML)", exact=True).inner_text(),
    )


async def check_and_go_live(page: Page) -> None:
    await page.get_by_role("link", name="Set-up check").click()
    await page.get_by_role("button", name="Check now").click()
    await expect(page.locator("#answers")).to_contain_text("Nothing is wrong.", timeout=30_000)
    await page.get_by_role("link", name="Integration Settings", exact=True).click()
    await expect(page.get_by_text("2 minutes after the webhook").first).to_be_attached()
    await home_says(page, "Welcome email")
    await page.get_by_text("Activate…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Activate").click()
    await expect(page.get_by_text("Welcome email is active.")).to_be_visible()


async def see_a_result(page: Page, world: World, klaviyo: Klaviyo, private_key: str) -> None:
    at = world.endpoints
    await home_says(page, "Sources")
    for label, text in {
        "Name": "klaviyo-events", "Server": at.sftp_host, "Port": str(at.sftp_port), "User": at.sftp_user,
        "Folder": world.event_folder, "The server's public key": at.sftp_host_key,
        "Our private key for it": private_key, "Seconds between listings": "10",
    }.items():  # fmt: skip
        await page.get_by_label(label, exact=True).fill(text)
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("heading", name="Connection")).to_be_visible()
    world.clock.leap(AN_HOUR_S)  # people read their email
    await klaviyo.export_events()

    async def delivered() -> None:
        await nav(page, "Results")
        await page.get_by_role("link", name="Welcome email").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Welcome email"))
        row = page.get_by_role("table", name="What happened, by arm").get_by_role("row", name="Clicked by people")
        cell = row.get_by_role("cell").first
        assert await cell.count(), "nothing is counted yet"
        assert int(await cell.inner_text()) > 0

    await eventually(delivered, within_s=60, every_s=1)


async def export_a_month(page: Page, world: World) -> None:
    at = world.endpoints
    await home_says(page, "Export bucket")
    for label, text in {
        "Bucket": world.bucket, "Endpoint (optional)": at.s3_endpoint, "Access key (optional)": at.s3_access_key,
        "Secret access key (optional)": at.s3_secret_key,
    }.items():  # fmt: skip
        await page.get_by_label(label, exact=True).fill(text)
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.get_by_role("button", name="Test the bucket").click()
    await expect(page.get_by_text("The bucket can be used.")).to_be_visible(timeout=30_000)
    world.clock.leap(AN_HOUR_S)  # the hour of the emails is over
    await page.get_by_role("link", name="Export a range").click()
    await page.get_by_role("button", name="Export the range").click()
    await expect(page.get_by_role("heading", name="What it will touch")).to_be_visible()
    await page.get_by_role("button", name="Export them").click()
    s3 = world.s3()

    def rows() -> int:
        selector = pyarrow.fs.FileSelector(world.bucket, recursive=True)
        paths = [info.path for info in s3.get_file_info(selector) if info.path.endswith(".parquet")]
        return sum(pyarrow.parquet.read_table(path, filesystem=s3).num_rows for path in paths)

    await eventually(lambda: rows() == PEOPLE, within_s=60, every_s=0.5)
