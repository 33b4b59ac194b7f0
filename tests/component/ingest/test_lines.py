"""What goes wrong with a source is one line that says what to do, and stands in docs/ingest.md word for word."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest

from cli.sources import trouble_of
from devstack.isolation import SftpFolder
from shared.admin.sources.sources import Source
from shared.source_silence import silent_since
from tests.component.ingest.given import SENT, Mail, nested_csv
from tests.component.ingest.rig import Rig, Server

DOCS = (Path(__file__).parents[3] / "docs" / "ingest.md").read_text().partition("## What each line means")[2]
_PLACES = re.compile(r"HOST:PORT|HOST|USER|PATH|TIME|ADDRESS|BUCKET|…")


def explained(line: str) -> bool:
    """Whether the table of the docs has this very line."""
    for row in re.findall(r"^\| (.+?) \|", DOCS, re.MULTILINE):
        for told in re.findall(r"`([^`]+)`", row):
            pattern = "".join(re.escape(text) + ".+?" for text in _PLACES.split(told))[: -len(".+?")]
            if re.fullmatch(pattern, line):
                return True
    return False


@pytest.fixture
async def shop(bare_rig: Rig, sshd: Server, sftp_root: SftpFolder) -> AsyncIterator[Rig]:
    """A source that was read, beside the ones that will not be."""
    await bare_rig.add_source(sshd, sftp_root.remote_path, name="good")
    (sftp_root.path / "a.csv").write_bytes(nested_csv([Mail("T1").received()]))
    yield bare_rig
    await bare_rig.settle()
    assert (await bare_rig.files())["a.csv"] == "done"  # it was not held up


async def line_of(rig: Rig, name: str) -> tuple[str, bool]:
    await rig.settle()
    row = await rig.one("SELECT last_error, refused_at FROM sources WHERE name = $1", name)
    return str(row["last_error"]), row["refused_at"] is not None


async def test_a_wrong_host_key(shop: Rig, sshd: Server, sftp_root: SftpFolder) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    await shop.add_source(replace(sshd, host_key=other), sftp_root.remote_path, name="bad")

    line, stopped = await line_of(shop, "bad")

    assert line == (
        f"{sshd.host}:{sshd.port} showed another host key than the pinned one; if the change is right, set the new key"
    )
    assert (stopped, explained(line)) == (True, True)


async def test_a_revoked_key(shop: Rig, sshd: Server, sftp_root: SftpFolder) -> None:
    revoked = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    await shop.add_source(replace(sshd, private_key=revoked), sftp_root.remote_path, name="bad")

    line, stopped = await line_of(shop, "bad")

    assert line == (
        f"{sshd.host}:{sshd.port} refused our key for user {sshd.user}; give the public key to whoever runs it"
    )
    assert (stopped, explained(line)) == (False, True)


async def test_a_missing_folder(shop: Rig, sshd: Server, sftp_root: SftpFolder) -> None:
    path = f"{sftp_root.remote_path}/none"
    await shop.add_source(sshd, path, name="bad")

    line, stopped = await line_of(shop, "bad")

    assert line == f"no folder {path!r} on {sshd.host}:{sshd.port}; have it made there, or correct the path"
    assert (stopped, explained(line)) == (False, True)


async def test_a_silent_source(shop: Rig, sftp_root: SftpFolder) -> None:
    for number in range(5):
        (sftp_root.path / f"{number}.csv").write_bytes(nested_csv([Mail(f"S{number}").received()]))
        shop.clock.advance(3600)
        await shop.settle()
    before = await shop.sources.count_silent(shop.clock.now())
    shop.clock.advance(3 * 3600)
    await shop.poll()

    assert before == 0
    assert await shop.sources.count_silent(shop.clock.now()) == 1
    since = silent_since(SENT, 5, 3600.0, SENT + timedelta(hours=3))
    line = trouble_of(_source().model_copy(update={"silent_since": since}))
    assert (
        line == "no new file since 2026-11-23 09:00:00 UTC, longer than usual; does whoever puts them there still run?"
    )
    assert explained(line)


def _source() -> Source:
    nothing = dict.fromkeys(("host", "username", "path", "pattern", "host_key", "bucket", "region", "endpoint_url"), "")
    times = dict.fromkeys(("last_polled_at", "last_error_at", "refused_at", "waiting_since", "silent_since"))
    counts = dict.fromkeys(("listed", "ignored", "done", "troubled", "waiting"), 0)
    return Source.model_validate(
        {
            **nothing, **times, **counts, "source_id": "00000000-0000-0000-0000-000000000001", "name": "klaviyo",
            "kind": "sftp", "place": "u@h:22", "port": 22, "access_key": "", "poll_s": 60, "enabled": True,
            "mapping": None, "last_error": None, "usual_gap_s": 3600.0,
        }
    )  # fmt: skip
