"""docs/ingest.md alone takes an empty database to numbers and back to their lines: each command on it is run."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devstack.isolation import SftpFolder, fresh_name
from tests.component.cli.rig import Box, Cli, settings
from tests.support.servers import Servers

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ingest.md").read_text()
WELCOME = ROOT / "demo" / "shop" / "welcome.yaml"
# What the page's examples name, which is what the files of this test say.
EMAIL, EVENT, PERSON = "01M2XP7FY7FV3CW6TA32JN1XG2", "6KLjcYbVcaN", "01PERSON"
NOT_RUN = ("docker ", "kubectl ")
"""Neither is on the machines of tests; `make check-deploy` reads what they are given."""


def commands() -> Iterator[str]:
    """Of the page's blocks, without the words beside them."""
    for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n +", "", block).splitlines():
            yield re.split(r" {3,}", line)[0].strip()


def test_the_page_names_no_command_that_there_is_not() -> None:
    words = {tuple(command.split()[1:3]) for command in commands() if command.startswith("justai ")}

    assert len(list(commands())) > 25
    assert {first for first, _ in words} == {"source", "klaviyo", "sends", "email", "event"}


class Reader:
    """Somebody who follows the page: what it leaves open is put in, and nothing else."""

    def __init__(self, cli: Cli, box: Box, servers: Servers, bucket: str, sftp: SftpFolder, at: Path) -> None:
        self.cli, self._box, self._at = cli, box, at
        self._sshd, self._s3, self._bucket, self._sftp = servers.need("sshd"), servers.need("s3"), bucket, sftp
        self._host_key = ""

    def run(self, command: str) -> str:
        if not command.startswith("justai "):
            return self._shell(command)
        words = self._put_in(shlex.split(command)[1:])
        if words[:4] == ["source", "add", "acme", "drop"] and "drop" in self.cli.ok("source", "list", "acme"):
            self.cli.ok("source", "rm", "acme", "drop", "--yes")  # two ways to one folder stand on the page
        asks = words[:2] == ["source", "rm"] or "--all" in words
        return self.cli.ok(*words, given="y\n" if asks else "")

    def _shell(self, command: str) -> str:
        if command.startswith("ssh-keyscan"):
            command = f"ssh-keyscan -p {self._sshd.sftp_port} -t ed25519 {self._sshd.sftp_host}"
        done = subprocess.run(command, shell=True, cwd=self._at, capture_output=True, text=True, timeout=60, check=True)
        if command.startswith("ssh-keyscan"):
            [line] = [one for one in done.stdout.splitlines() if not one.startswith("#")]
            self._host_key = " ".join(line.split()[1:3])
        if "-f id_ed25519" in command:  # its public half is given to whoever runs the server
            public = (self._at / "id_ed25519.pub").read_text()
            known = Path(self._sshd.sftp_client_key_path).with_name("client_key.pub")
            known.write_text(known.read_text().rstrip("\n") + "\n" + public)
        return done.stdout

    def _put_in(self, words: list[str]) -> list[str]:
        said = {
            "sftp.example.com": self._sshd.sftp_host, "/out": self._sftp.remote_path,
            "ssh-ed25519 AAAA…": self._host_key, "acme-events": self._bucket, "eu-central-1": "us-east-1",
            "AKIA…": self._s3.s3_access_key, "2026-10-01": self._yesterday(),
        }  # fmt: skip
        words = [said.get(word, word) for word in words]
        if "--host" in words:
            at = words.index("--user") + 1
            words[at] = self._sshd.sftp_user
            words += ["--port", str(self._sshd.sftp_port)]
        if "--bucket" in words:
            words += ["--endpoint-url", self._s3.s3_endpoint]
        return words

    def _yesterday(self) -> str:
        return str(self.cli.value("SELECT (now() - interval '1 day')::date::text"))

    def wait_for_files(self) -> None:
        """A minute or two of the service's time."""
        until = time.monotonic() + 90
        while not self.cli.value("SELECT count(*) FROM ingest_files WHERE path LIKE '%a.csv' AND state = 'done'"):
            assert time.monotonic() < until, self.cli.rows("SELECT path, state, error FROM ingest_files")
            time.sleep(0.5)

    def put_files(self, sent_at: str) -> None:
        """What somebody exports: an email that is clicked; and the same in every other place."""
        properties = {"$message": "M", "$flow": "WELC01", "$internal": {"Transmission ID": EMAIL}}
        rows = [("EV1", "Received Email"), (EVENT, "Clicked Email")]
        for path in (self._sftp.path / "a.csv", self._at / "root" / "acme" / "in" / "b.csv"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "metric", "profile_id", "datetime", "event_properties"])
                writer.writerows([event, metric, PERSON, sent_at, json.dumps(properties)] for event, metric in rows)


@contextmanager
def ingest(cli: Cli, root: Path) -> Iterator[None]:
    more = {
        "JUSTAI_ALLOW_PRIVATE_HOSTS": "true", "JUSTAI_INGEST_FOLDER_ROOT": str(root),
        "JUSTAI_INGEST_KLAVIYO_WINDOW_MIN": "360",  # a day in four windows, not in a hundred
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "services.ingest"], env={"PATH": os.environ["PATH"], **cli.env, **more}, cwd=ROOT,
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def reader(
    database_url: str, amqp_url: str, box: Box, servers: Servers, bucket: str, sftp_root: SftpFolder, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Reader]:  # fmt: skip
    """At an empty database; nothing but `justai --help` was followed before: an org, its connection, a template."""
    cli = Cli({**settings(database_url, amqp_url), "JUSTAI_CLOCK": box.clock})
    name = fresh_name("ingest-page")
    cli.rows(f'CREATE DATABASE "{name}"')
    fresh = cli.with_settings(database_url=urlsplit(database_url)._replace(path=f"/{name}").geturl())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy" / "secrets" / "drop" / "keys").mkdir(parents=True)  # as deploy/make-secrets.sh does
    (tmp_path / "secret").write_text(servers.need("s3").s3_secret_key)
    try:
        fresh.ok("migrate")
        fresh.ok("org", "create", "acme", "Acme Coffee")
        fresh.ok(
            "klaviyo",
            "connect",
            "acme",
            "--base-url",
            box.url,
            given=f"{box.ask('POST', '/keys', {'scopes': 'all'})['key']}\n",
        )
        fresh.ok("flows", "sync", "acme")
        fresh.ok("template", "import", "acme", str(WELCOME))
        yield Reader(fresh, box, servers, bucket, sftp_root, tmp_path)
    finally:
        cli.rows(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_command_on_the_page_works_one_after_the_other(reader: Reader, tmp_path: Path) -> None:
    sent_at = str(reader.cli.value("SELECT to_char(now() - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SSOF')"))
    reader.put_files(sent_at)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "their_key"], check=True)
    said: dict[str, str] = {}

    with ingest(reader.cli, tmp_path / "root"):
        for command in commands():
            if command == "justai source list acme":
                reader.wait_for_files()
            if not command.startswith(NOT_RUN):
                said[command] = reader.run(command)

    assert "klaviyo" in said["justai source list acme"]
    assert "a.csv" in said["justai source files acme events --follow"]
    assert EVENT in said[f"justai email acme {EMAIL}"]
    assert "a.csv line 3" in said[f"justai event acme {EVENT}"]
