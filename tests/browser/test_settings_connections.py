"""SFTP source, export bucket, rules, attributes and zone, with the exporter as it runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.async_api import Browser, expect

from devstack.isolation import SftpFolder
from shared.clock import SystemClock
from tests.browser.conftest import Visitor, browsing, visitor_of
from tests.support.console import Stage, console
from tests.support.neighbours import exporter, ingest
from tests.support.servers import Servers


@browsing
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    """A console with a broker."""
    async with console(database_url, SystemClock(), dev=True, amqp_url=amqp_url) as running:
        await running.staff()
        yield running


async def test_a_bucket_is_set_up_and_tested_where_the_exporter_runs(
    ann: Visitor, stage: Stage, servers: Servers, bucket: str
) -> None:
    page, s3 = ann.page, servers.need("s3")
    await ann.goes_to("/acme/integration/export")
    await page.get_by_label("Bucket", exact=True).fill(bucket)
    await page.get_by_label("Endpoint").fill(s3.s3_endpoint)
    await page.get_by_label("Access key (optional)", exact=True).fill(s3.s3_access_key)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("an access key and its secret belong together")).to_be_visible()
    await ann.shoot("export-refused-1280-light")
    await page.get_by_label("Secret access key (optional)", exact=True).fill(s3.s3_secret_key)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text(f"Exports go to s3://{bucket}. Test it now.")).to_be_visible()
    assert s3.s3_secret_key not in await page.content()

    async with exporter(stage):
        await page.get_by_role("button", name="Test the bucket").click()
        await expect(page.get_by_text("The bucket can be used.")).to_be_visible(timeout=20_000)
        await expect(page.get_by_text("Write an object")).to_be_visible()
        await ann.shoot("export-tested-1280-light")
        assert await ann.faults() == []

        await page.get_by_label("Secret access key (optional)", exact=True).fill("not-the-secret")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_role("button", name="Test the bucket").click()
        await expect(page.get_by_text("The bucket cannot be used yet.")).to_be_visible(timeout=20_000)
        await expect(page.get_by_text("The secret is not that of the access key")).to_be_visible()
        await ann.shoot("export-failed-1280-light")


async def test_a_source_is_tried_saved_tested_and_its_file_previewed(
    ann: Visitor, stage: Stage, servers: Servers, sftp_root: SftpFolder
) -> None:
    page, sshd = ann.page, servers.need("sshd")
    key = await asyncio.to_thread(Path(sshd.sftp_client_key_path).read_text)
    rows = "".join(f"E{n},Opened Email,01PERSON{n},2026-11-23 09:0{n}\n" for n in range(4))
    (sftp_root.path / "events.csv").write_text(f"id,metric,Person,datetime\n{rows}E5,,01PERSON5,2026-11-23 09:00\n")
    await ann.goes_to("/acme/integration/sources")
    await page.get_by_label("Name").fill("klaviyo events")
    await page.get_by_label("Server", exact=True).fill(sshd.sftp_host)
    await page.get_by_label("Port").fill(str(sshd.sftp_port))
    await page.get_by_label("User").fill(sshd.sftp_user)
    await page.get_by_label("Folder").fill(sftp_root.remote_path)
    await page.get_by_label("The server's public key").fill(key_of(private_key()))
    await page.get_by_label("Our private key for it").fill(key)

    async with ingest(stage):
        await page.get_by_role("button", name="Test before saving").click()
        await expect(page.get_by_text("is pinned. Ask its owner which is right")).to_be_visible(timeout=20_000)
        await ann.shoot("source-other-host-key-1280-light")
        await page.get_by_label("The server's public key").fill(sshd.sftp_host_key)
        await page.get_by_role("button", name="Test before saving").click()
        await expect(page.get_by_text("no column for profile_id").first).to_be_visible(timeout=20_000)
        await ann.shoot("source-tried-1280-light")
        await page.get_by_role("button", name="Save").click()  # the private key is still there
        await expect(page.get_by_text("Source klaviyo events is saved. Test it now.")).to_be_visible()
        assert key.splitlines()[1] not in await page.content()

        await page.get_by_role("button", name="Test the connection").click()
        await expect(page.get_by_text("The source cannot be read yet.")).to_be_visible(timeout=20_000)
        assert await ann.faults() == []
        await page.get_by_role("link", name="Preview a file").click()
        await expect(page.get_by_text("Would be held")).to_be_visible(timeout=20_000)
        await page.get_by_label("Column of profile_id").select_option("Person")
        await page.get_by_role("button", name="Preview again").click()
        await expect(page.get_by_text("Would be loaded")).to_be_visible(timeout=20_000)
        assert await ann.faults() == []
        await ann.shoot("source-preview-1280-light")
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.emulate_media(color_scheme="dark")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        assert await ann.faults() == []
        await ann.shoot("source-preview-390-dark")
        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.emulate_media(color_scheme="light")
        await page.get_by_role("button", name="Save the mapping").click()
        await expect(page.get_by_text("The mapping is saved.")).to_be_visible()
        await page.get_by_role("button", name="Test the connection").click()
        await expect(page.get_by_text("The source can be read.")).to_be_visible(timeout=20_000)
        await ann.shoot("source-tested-1280-light")
    await page.get_by_text("Switch off…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Switch off").click()
    await expect(page.get_by_text("Source klaviyo events is left alone from now on.")).to_be_visible()


async def test_rules_are_kept_and_each_fault_is_at_its_field(ann: Visitor) -> None:
    page = ann.page
    await ann.goes_to("/acme/integration/rules")
    await page.get_by_label("Banned words").fill("cheap\nfree money")
    await page.get_by_label("Promo codes").fill("SPRING20 2026-12-24\nWINTER soon")
    await page.get_by_label("Reviews are required").check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Promo codes entry 2 must be a day, like 2026-12-24.")).to_be_visible()
    await ann.shoot("rules-refused-1280-light")
    await page.get_by_label("Promo codes").fill("SPRING20 2026-12-24\nWINTER")
    await page.get_by_role("button", name="Save").click()

    await expect(page.get_by_text("The rules are saved.")).to_be_visible()
    await expect(page.get_by_label("Banned words")).to_have_value("cheap\nfree money")
    await expect(page.get_by_label("Promo codes")).to_have_value("SPRING20 2026-12-24\nWINTER")
    await expect(page.get_by_label("Reviews are required")).to_be_checked()


async def test_attributes_and_the_zone_are_set_without_script(chromium: Browser, stage: Stage) -> None:
    visitor = await visitor_of(chromium, stage.url, width=390, js=False)
    page = visitor.page
    await visitor.signs_in()
    await visitor.goes_to("/acme/integration/attributes")
    await page.get_by_label("Definitions").fill("plan: &a\n  kind: string\nother: *a\n")
    await page.get_by_role("button", name="Save").click()
    await expect(
        page.get_by_text("Definitions cannot be read in line 3: it uses an alias (*); write it out.")
    ).to_be_visible()
    await page.get_by_label("Definitions").fill("plan:\n  kind: strin\n")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("must be one of string, list, number, date")).to_be_visible()
    await page.get_by_label("Definitions").fill("plan:\n  kind: string\n  options: [free, pro]\n")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("table", name="Attributes")).to_contain_text("free, pro")
    await visitor.shoot("attributes-set-390-light")

    await visitor.goes_to("/acme/integration/org")
    await page.get_by_label("Time zone", exact=True).fill("Mars/Olympus")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("'Mars/Olympus' is no time zone")).to_be_visible()
    await page.get_by_label("Time zone", exact=True).fill("Asia/Tokyo")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Acme Coffee lives in Asia/Tokyo.")).to_be_visible()


def private_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()


def key_of(key: str) -> str:
    """The public half, as a server's key is shown."""
    public = serialization.load_ssh_private_key(key.encode(), None).public_key()
    encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return public.public_bytes(encoding, form).decode()
