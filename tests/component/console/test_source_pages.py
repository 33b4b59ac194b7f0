"""Testing and previewing a source with forms alone: the ingest service as it runs, and OpenSSH's server."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from devstack.isolation import SftpFolder
from shared.clock import SystemClock
from tests.component.console.browser import Browser, Page
from tests.support.console import Stage, console
from tests.support.neighbours import ingest
from tests.support.servers import Servers

FILE = "id, metric ,Wer,datetime\nE1,Opened Email,P1,2026-11-23 09:00\nE2,Opened Email,,2026-11-23 09:00\n"


@pytest.fixture
async def stage(database_url: str, amqp_url: str) -> AsyncIterator[Stage]:
    """A console with a broker."""
    async with console(database_url, SystemClock(), amqp_url=amqp_url) as running:
        await running.staff()
        yield running


@pytest.fixture
def typed(servers: Servers, sftp_root: SftpFolder) -> dict[str, str]:
    """The form of a source that can be read."""
    at = servers.need("sshd")
    return {
        "host": at.sftp_host, "port": str(at.sftp_port), "user": at.sftp_user, "path": sftp_root.remote_path,
        "pattern": "*.csv", "host_key": at.sftp_host_key,
        "private_key": Path(at.sftp_client_key_path).read_text(), "poll_s": "60",
    }  # fmt: skip


async def columns_form(visitor: Browser, path: str, **chosen: str) -> Page:
    return await visitor.post(path, **{f"map_{field}": column for field, column in chosen.items()})


async def test_a_source_is_tested_before_and_after_it_is_saved(
    stage: Stage, visitor: Browser, typed: dict[str, str], sftp_root: SftpFolder
) -> None:
    (sftp_root.path / "a.csv").write_text("id,metric,profile_id,datetime\nE1,Opened Email,P1,2026-11-23 09:00\n")
    await visitor.sign_in("ann@example.com")
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()

    async with ingest(stage):
        unsaved = await visitor.post("/acme/integration/try-source", **typed)
        part = await visitor.post("/acme/integration/try-source", {"HX-Request": "true"}, **{**typed, "host": ""})
        nothing = await visitor.post("/acme/integration/try-source", **{**typed, "host": "", "host_key": "x"})
        saved = await visitor.post("/acme/integration/sources", name="events", **typed)
        stored = await visitor.post("/acme/integration/sources/events/test")
        changed = await visitor.post(
            "/acme/integration/sources/events/try", **{**typed, "private_key": "", "host_key": other}
        )

    key = typed["private_key"].splitlines()[1]
    assert "The source can be read." in unsaved.words
    assert typed["host"] in unsaved.html
    assert all(key not in page.html for page in (unsaved, part, nothing, stored, changed))
    assert (part.status, "Nothing was tried: Server is missing." in part.words) == (200, True)
    assert "<nav" not in part.html
    assert (nothing.status, 'id="e-host"' in nothing.html) == (422, True)
    assert saved.status == 303
    assert "The source can be read." in stored.words
    assert "1 of the first 1 rows are events" in stored.words
    assert "The source cannot be read yet." in changed.words
    assert "is pinned. Ask its owner which is right" in changed.words
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT host_key FROM sources") == typed["host_key"]


async def test_a_file_is_previewed_and_its_mapping_tried_and_saved_without_script(
    stage: Stage, visitor: Browser, typed: dict[str, str], sftp_root: SftpFolder
) -> None:
    (sftp_root.path / "a.csv").write_text(FILE)
    await visitor.sign_in("ann@example.com")
    root = "/acme/integration/sources/events"

    async with ingest(stage):
        await visitor.post("/acme/integration/sources", name="events", **typed)
        before = await visitor.get(f"{root}/preview")
        tried = await columns_form(visitor, f"{root}/preview", profile_id="Wer", metric=" metric ")
        saved = await columns_form(visitor, f"{root}/mapping", profile_id="Wer", metric=" metric ")
        after = await visitor.get(f"{root}/preview?file=a.csv")
        gone = await visitor.get(f"{root}/preview?file=b.csv")

    assert "Would be held" in before.words
    assert "no column for profile_id" in before.words
    assert "By its name: id" in before.words
    assert "Would be loaded" in tried.words
    assert "This mapping is not saved yet." in tried.words
    assert "P1" in tried.words
    assert "no profile_id" in tried.words
    assert saved.status == 303
    assert "Would be loaded" in after.words
    assert "This mapping is not saved yet." not in after.words
    assert '<option value=" metric " selected>' in after.html
    assert "No file could be read" in gone.words
    async with stage.db.connection() as connection:
        assert await connection.fetchval("SELECT mapping::text FROM sources") == (
            '{"metric": " metric ", "profile_id": "Wer"}'
        )


HELD = (
    "INSERT INTO sources (source_id, org_id, name, host, username, host_key, sealed_key, enabled) "
    "SELECT '00000000-0000-4000-8000-000000000001', $1, 'events', 'localhost', 'u', 'k', 's', false",
    "INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, state, first_seen_at, last_seen_at, "
    "rows, rejects, error) SELECT gen_random_uuid(), $1, '00000000-0000-4000-8000-000000000001', f.path, 10, now(), "
    "'held', now(), now(), 400, 21, f.error FROM (VALUES ('/out/rows.csv', 'too_many_rejects: 21 of the 400 rows'), "
    "('/out/layout.csv', 'unknown_layout: no column')) f (path, error)",
)


async def test_a_file_that_is_held_for_its_bad_rows_has_a_button_to_take_it_as_it_is(
    stage: Stage, visitor: Browser
) -> None:
    await visitor.sign_in("ann@example.com")
    async with stage.db.connection() as connection:
        for statement in HELD:
            await connection.execute(statement, stage.orgs["acme"])
    path = "/acme/operations/sources/events"

    shown = await visitor.get(path)
    async with ingest(stage):
        await visitor.post(f"{path}/accept", file="/out/rows.csv")
        taken = await visitor.get(path)
        await visitor.post(f"{path}/accept", file="/out/layout.csv")
        refused = await visitor.get(path)

    assert shown.html.count(f"{path}/accept") == 1
    assert "21 of the 400 rows that were read of /out/rows.csv are no events" in shown.words
    assert "/out/rows.csv is loaded as it is; its bad rows stay rejects." in taken.words
    assert "It is not loaded: /out/layout.csv is not held for bad rows" in refused.words
    async with stage.db.connection() as connection:
        accepted = await connection.fetch("SELECT path FROM ingest_files WHERE accepted_at IS NOT NULL")
    assert [row["path"] for row in accepted] == ["/out/rows.csv"]
