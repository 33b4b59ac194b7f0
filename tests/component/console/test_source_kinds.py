"""Sources of other kinds in the console, with forms alone: each tried, saved, changed, read again and removed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.clock import SystemClock
from tests.component.console.browser import Browser
from tests.support.console import Stage, console
from tests.support.neighbours import ingest
from tests.support.servers import Servers

FILE = "id,metric,profile_id,datetime\nE1,Opened Email,P1,2026-11-23 09:00\n"
NAMES = ("host", "host_key", "bucket", "secret_key", "path", "pattern")
SOURCES = "/acme/integration/sources"


@pytest.fixture
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    """A console with a broker."""
    async with console(database_url, SystemClock(), amqp_url=amqp_url) as running:
        await running.staff()
        yield running


@pytest.fixture
def typed(servers: Servers, bucket: str) -> dict[str, str]:
    """The form of a bucket that can be read."""
    at = servers.need("s3")
    return {
        "kind": "s3", "bucket": bucket, "region": "us-east-1", "endpoint_url": at.s3_endpoint, "path": "klaviyo",
        "access_key": at.s3_access_key, "secret_key": at.s3_secret_key, "pattern": "*.csv", "poll_s": "60",
    }  # fmt: skip


async def test_each_kind_has_a_form_of_its_own(visitor: Browser) -> None:
    await visitor.sign_in("ann@example.com")

    pages = {
        kind: await visitor.get(f"{SOURCES}?kind={kind}") for kind in ("sftp", "folder", "s3", "klaviyo", "nonsense")
    }

    fields = {kind: {name for name in NAMES if f'"f-{name}"' in page.html} for kind, page in pages.items()}
    assert fields["sftp"] == fields["nonsense"] == {"host", "host_key", "path", "pattern"}
    assert fields["folder"] == {"path", "pattern"}
    assert fields["s3"] == {"bucket", "secret_key", "path", "pattern"}
    assert fields["klaviyo"] == set()


async def test_a_bucket_is_tried_saved_changed_and_removed(
    stage: Stage, visitor: Browser, typed: dict[str, str]
) -> None:
    await visitor.sign_in("ann@example.com")
    secret = typed["secret_key"]

    async with ingest(stage):
        unsaved = await visitor.post("/acme/integration/try-source", **typed)
        wrong = await visitor.post("/acme/integration/try-source", **{**typed, "bucket": "", "region": "x/y"})
        lonely = await visitor.post(SOURCES, name="lake", **{**typed, "secret_key": ""})
        saved = await visitor.post(SOURCES, name="lake", **typed)
        shown = await visitor.get(f"{SOURCES}/lake")
        tested = await visitor.post(f"{SOURCES}/lake/test")
    change = {name: value for name, value in typed.items() if name not in ("kind", "secret_key")}
    changed = await visitor.post(f"{SOURCES}/lake", **{**change, "path": "in"})
    async with stage.db.connection() as connection:
        [row] = await connection.fetch("SELECT kind, path, access_key, endpoint_url, sealed_key FROM sources")
    own = await visitor.post(f"{SOURCES}/lake", **{**change, "access_key": "", "endpoint_url": ""})
    async with stage.db.connection() as connection:
        [keyless] = await connection.fetch("SELECT access_key, endpoint_url, sealed_key FROM sources")
    removed = await visitor.post(f"{SOURCES}/lake/remove")

    assert "The folder can be read, but no file that fits is there yet." in unsaved.words
    assert (wrong.status, "Bucket is missing; Region is no region" in wrong.words) == (422, True)
    assert (lonely.status, "Its secret is missing; it belongs to the access key" in lonely.words) == (422, True)
    assert (saved.status, changed.status, own.status, removed.status) == (303, 303, 303, 303)
    assert f"s3://{typed['bucket']}/klaviyo at {typed['endpoint_url']}" in shown.words
    assert "The folder can be read" in tested.words
    assert all(secret not in page.html for page in (unsaved, wrong, lonely, shown, tested))
    assert (row["kind"], row["path"], row["access_key"], row["sealed_key"] != "") == (
        "s3", "in", typed["access_key"], True,
    )  # fmt: skip
    assert dict(keyless) == {"access_key": "", "endpoint_url": "", "sealed_key": ""}
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM sources") == 0


async def test_a_folder_is_tried_and_saved_and_read_again(stage: Stage, visitor: Browser, tmp_path: Path) -> None:
    (tmp_path / "acme" / "in").mkdir(parents=True)
    (tmp_path / "acme" / "in" / "a.csv").write_text(FILE)
    await visitor.sign_in("ann@example.com")
    typed = {"kind": "folder", "path": "in", "pattern": "*", "poll_s": "60"}

    async with ingest(stage, ingest_folder_root=tmp_path):
        unsaved = await visitor.post("/acme/integration/try-source", **typed)
        outside = await visitor.post("/acme/integration/try-source", **{**typed, "path": "../other"})
        saved = await visitor.post(SOURCES, name="drop", **typed)
        preview = await visitor.get(f"{SOURCES}/drop/preview")
    page = await visitor.get("/acme/operations/sources/drop")
    again = await visitor.post("/acme/operations/sources/drop/reread")

    assert "The source can be read." in unsaved.words
    assert "acme/in is there." in unsaved.words
    assert "is no path in the org" in outside.words
    assert saved.status == 303
    assert "Would be loaded" in preview.words
    assert "Read all again" in page.words
    assert again.status == 303
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT reread_at IS NOT NULL FROM sources")


async def test_klaviyos_api_is_added_and_past_days_of_it_are_asked_for(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in("ann@example.com")

    saved = await visitor.post(SOURCES, name="api", kind="klaviyo", poll_s="60")
    page = await visitor.get("/acme/operations/sources/api")
    wrong = await visitor.post("/acme/operations/sources/api/backfill", since="2026-10-01", until="soon")
    ahead = await visitor.post("/acme/operations/sources/api/backfill", since="2026-10-01", until="2999-01-01")
    asked = await visitor.post("/acme/operations/sources/api/backfill", since="2026-10-01", until="2026-10-04")

    assert (saved.status, asked.status) == (303, 303)
    assert ("Past days" in page.words, "s Events API" in page.words) == (True, True)
    assert (wrong.status, "is no day" in wrong.words) == (422, True)
    assert (ahead.status, "after today" in ahead.words) == (422, True)
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT until - since FROM event_backfills") == 3
