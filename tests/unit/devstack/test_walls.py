"""What conftest and `support.servers` promise to every other test."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import tempfile
from pathlib import Path

import pytest

from devstack import Endpoints, ServerFailed, ServerName
from tests.conftest import fail_skips, scrub
from tests.support.servers import OwnersSocket, SharedServers, quick_parent, remove_abandoned_folders


def test_a_socket_cannot_leave_this_machine() -> None:
    with socket.socket() as outward, pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
        outward.connect(("192.0.2.1", 443))


def test_a_foreign_name_is_not_even_looked_up() -> None:
    with pytest.raises(PermissionError, match=r"a\.klaviyo\.com"):
        socket.getaddrinfo("a.klaviyo.com", 443)


async def test_the_event_loop_has_the_same_wall() -> None:
    with pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
        await asyncio.open_connection("192.0.2.1", 443)


def test_settings_of_the_caller_do_not_reach_a_test() -> None:
    environ = {"JUSTAI_DRAIN_S": "1", "AWS_PROFILE": "mine", "PATH": "/bin", "JUSTAI_TEST_AMQP_URL": "amqp://h/"}

    given = scrub(environ)

    assert environ == {"PATH": "/bin"}
    assert given == {"JUSTAI_TEST_AMQP_URL": "amqp://h/"}
    assert not [name for name in os.environ if name.startswith(("JUSTAI_", "AWS_"))]


def skipped() -> pytest.TestReport:
    return pytest.TestReport(
        nodeid="test_it",
        location=("test_it.py", 1, "test_it"),
        keywords={},
        outcome="skipped",
        longrepr=("test_it.py", 1, "Skipped: no data"),
        when="call",
    )


def test_a_skip_is_a_failure_in_ci_and_keeps_its_reason() -> None:
    report = skipped()

    fail_skips(report, in_ci=True)

    assert report.failed
    assert "Skipped: no data" in str(report.longrepr)


def test_a_skip_is_a_skip_elsewhere() -> None:
    report = skipped()

    fail_skips(report, in_ci=False)

    assert report.skipped


class Counting:
    def __init__(self, failure: str | None = None) -> None:
        self.failure = failure
        self.asked: list[tuple[ServerName, ...]] = []

    def need(self, *names: ServerName) -> Endpoints:
        self.asked.append(names)
        if self.failure:
            raise ServerFailed(self.failure)
        return Endpoints(amqp_url="amqp://here/")


def test_a_worker_asks_the_owner_once() -> None:
    owner = Counting()
    asked = OwnersSocket(owner)
    worker = SharedServers(asked.path)

    first, second = worker.need("rabbitmq", "s3"), worker.need("rabbitmq", "s3")
    asked.close()

    assert first is second
    assert first.amqp_url == "amqp://here/"
    assert owner.asked == [("rabbitmq", "s3")]


def test_a_worker_learns_why_a_server_is_missing() -> None:
    asked = OwnersSocket(Counting("rabbitmq ended with code 1\n  | no cookie"))

    with pytest.raises(ServerFailed, match=r"rabbitmq ended with code 1\n  \| no cookie"):
        SharedServers(asked.path).need("rabbitmq")
    asked.close()


def test_folders_of_killed_runs_go_and_those_of_living_runs_stay(tmp_path: Path) -> None:
    for name in ("test-dead", "test-alive", "test-being-made", "ask-dead", "ask-alive", "ask-being-made", "else"):
        (tmp_path / f"justai-{name}").mkdir()
    (tmp_path / "justai-test-dead" / "lock").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "justai-ask-dead" / "socket"))
    with (tmp_path / "justai-test-alive" / "lock").open("w") as lock, socket.socket(socket.AF_UNIX) as asked:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asked.bind(str(tmp_path / "justai-ask-alive" / "socket"))
        asked.listen()

        remove_abandoned_folders(tmp_path)

    left = {path.name.removeprefix("justai-") for path in tmp_path.iterdir()}
    assert left == {"test-alive", "test-being-made", "ask-alive", "ask-being-made", "else"}


def test_servers_keep_their_files_in_memory_only_where_there_is_room(tmp_path: Path) -> None:
    on_disk, roomy, narrow = Path(tempfile.gettempdir()), tmp_path / "roomy", tmp_path / "narrow"
    roomy.write_text("MemTotal:       1000 kB\nMemAvailable:   20000000 kB\n")
    narrow.write_text("MemTotal:       20000000 kB\nMemAvailable:   1000 kB\n")

    assert quick_parent(tmp_path, narrow) == on_disk
    assert quick_parent(tmp_path, tmp_path / "no such file") == on_disk
    assert quick_parent(tmp_path / "no such place", roomy) == on_disk
    assert quick_parent(tmp_path, roomy) in (tmp_path, on_disk)  # what else is on this disk is not for us to say
