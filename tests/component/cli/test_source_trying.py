"""`justai source test`, `preview` and `rescan`, with the ingest service in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from devstack.isolation import SftpFolder
from tests.component.cli.rig import Cli
from tests.support.servers import Servers

HEADER = "id,metric,Person,datetime\n"


@contextmanager
def ingest(cli: Cli) -> Iterator[None]:
    command = [sys.executable, "-m", "services.ingest"]
    environment = {"PATH": os.environ["PATH"], **cli.env, "JUSTAI_ALLOW_PRIVATE_HOSTS": "true"}
    with subprocess.Popen(
        command, env=environment, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def shop(acme: Cli, amqp_url: str) -> Cli:
    return acme.with_settings(amqp_url=amqp_url)


def test_a_source_is_tried_before_it_is_added_and_its_file_looked_at(
    shop: Cli, servers: Servers, sftp_root: SftpFolder, tmp_path: Path
) -> None:
    at = servers.need("sshd")
    (sftp_root.path / "a.csv").write_text(f"{HEADER}E1,Opened Email,P1,2026-11-23 09:00\nE2,Opened Email,,2026-11-23\n")
    given = (
        "--host", at.sftp_host, "--port", str(at.sftp_port), "--user", at.sftp_user, "--path", sftp_root.remote_path,
        "--key-file", str(at.sftp_client_key_path),
    )  # fmt: skip
    revoked = tmp_path / "revoked"
    revoked.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())

    with ingest(shop):
        typed = shop.run("source", "test", "acme", *given, "--host-key", at.sftp_host_key)
        shop.ok("source", "add", "acme", "events", *given, "--host-key", at.sftp_host_key, "--poll-s", "86400")
        refused = shop.run("source", "test", "acme", "events", "--key-file", str(revoked))
        held = shop.run("source", "preview", "acme", "events")
        seen = shop.ok("source", "preview", "acme", "events", "--file", "a.csv", "--map", "profile_id=Person")
        shop.ok("source", "set", "acme", "events", "--map", "profile_id=Person")
        stored = shop.ok("source", "test", "acme", "events")
        listed = shop.ok("source", "rescan", "acme", "events")

    assert (typed.exit_code, "    ok  Log in: As" in typed.stdout) == (1, True)
    assert "FAILED  Find the columns: No column for profile_id" in typed.stdout
    assert "FAILED  Log in:" in refused.stdout
    assert "give the public key to whoever runs it" in refused.stdout
    assert held.exit_code == 1
    assert "As it is, this file would be held: no column for profile_id" in held.stderr
    assert "MISSING" in held.stdout
    assert "set by hand" in seen
    assert "no profile_id" in seen
    assert "1 events and 1 rejects in what was read; nothing was stored." in seen
    assert "    ok  Find the columns:" in stored
    assert "1 files that fit '*', 0 others" in listed
    assert shop.rows("SELECT 1 FROM events") == []
