"""SFTP source, export bucket, rules, attributes and zone, with the exporter as it runs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.async_api import Browser, expect

from services.egress.app import build
from services.egress.settings import Settings
from shared.clock import SystemClock
from tests.browser.conftest import Visitor, visitor_of
from tests.support.console import Stage, console
from tests.support.servers import Servers
from tests.support.services import serving


@pytest.fixture
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    """A console with a broker."""
    async with console(database_url, SystemClock(), dev=True, amqp_url=amqp_url) as running:
        await running.staff()
        yield running


@asynccontextmanager
async def exporter(stage: Stage) -> AsyncIterator[None]:
    about = stage.settings
    settings = Settings(
        database_url=about.database_url, amqp_url=about.amqp_url, seal_keys=about.seal_keys,
        api_key_peppers=about.api_key_peppers, egress_connect_timeout_s=1,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        service = await build(settings, stack)
        async with serving(service):
            yield


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
        await expect(page.get_by_text("does not allow it")).to_be_visible()
        await ann.shoot("export-failed-1280-light")


async def test_a_source_is_added_and_its_test_waits_for_the_ingest_service(ann: Visitor, stage: Stage) -> None:
    page = ann.page
    key = private_key()
    await ann.goes_to("/acme/integration/sources")
    await page.get_by_label("Name").fill("klaviyo events")
    await page.get_by_label("Server", exact=True).fill("sftp.example.com")
    await page.get_by_label("User").fill("acme")
    await page.get_by_label("The server's public key").fill("no key at all")
    await page.get_by_label("Our private key for it").fill(key)
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#e-host_key")).to_be_visible()
    await ann.shoot("source-refused-1280-light")
    await page.get_by_label("The server's public key").fill(key_of(key))
    await page.get_by_label("Our private key for it").fill(key)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Source klaviyo events is saved. Test it now.")).to_be_visible()
    assert key.splitlines()[1] not in await page.content()

    await page.get_by_role("button", name="Test the connection").click()
    await expect(page.get_by_text("The ingest service is listing the folder.")).to_be_visible()
    await ann.shoot("source-waiting-1280-light")
    async with stage.db.transaction() as connection:  # as the ingest service does
        await connection.execute(
            "UPDATE sources SET last_polled_at = $1, listed = 3, ignored = 1, last_error = NULL", SystemClock().now()
        )
    await expect(page.get_by_text("The folder was listed: 3 files fit *, 1 other thing is there.")).to_be_visible()
    await expect(page.get_by_text("Read", exact=True)).to_be_visible()
    assert await ann.faults() == []
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
