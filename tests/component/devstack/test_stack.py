"""Starting and stopping several servers at once."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devstack import ServerFailed, Stack, rabbitmq, start
from devstack.endpoints import ServerName
from devstack.ports import LOOPBACK, free_ports


def test_stopping_does_not_wait_for_a_start_under_way(tmp_path: Path) -> None:
    stack = Stack(tmp_path, durable=False, environ={})
    outcome: list[str] = []

    def need() -> None:
        with pytest.raises(ServerFailed) as failed:
            stack.need("rabbitmq")
        outcome.append(str(failed.value))

    starting = threading.Thread(target=need)
    starting.start()
    while not (tmp_path / "rabbitmq" / "rabbitmq.log").exists():
        time.sleep(0.01)
    began = time.monotonic()
    stack.stop()
    starting.join()

    assert outcome == ["rabbitmq was stopped while starting"]
    assert time.monotonic() - began < rabbitmq.READY_S / 10


def test_every_failure_is_told_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "SERVER", Path("/bin/false"))
    (tmp_path / "s3" / "data").mkdir(parents=True)
    (tmp_path / "s3" / "s3.secret").mkdir()  # cannot be read as a file

    with pytest.raises((ServerFailed, OSError)):
        start(["rabbitmq", "s3", "sshd"], tmp_path, durable=False)

    with Stack(tmp_path, durable=False, environ={}):
        pass  # the folder's lock is free: no process of the failed start is left


def test_a_folder_serves_one_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.stack.LOCK_S", 0.1)

    with (
        Stack(tmp_path, durable=False, environ={}),
        pytest.raises(ServerFailed, match="is in use by another run"),
    ):
        Stack(tmp_path, durable=False, environ={})


PORTS_OF = [("sshd", ["sftp"]), ("rabbitmq", ["amqp", "management", "distribution", "epmd", "metrics"])]
LONG = ("management", "distribution", "epmd", "metrics")
"""Two starts of a node each; the short tests take another port once."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("server", "count", "which"),
    [
        pytest.param(server, len(ports), which, id=port, marks=[pytest.mark.long] if port in LONG else [])
        for server, ports in PORTS_OF
        for which, port in enumerate(ports)
    ],
)
def test_a_port_that_somebody_took_meanwhile_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ServerName, count: int, which: int
) -> None:
    taken = free_ports(count)
    offered: list[tuple[int, ...]] = []

    def offer(count: int) -> tuple[int, ...]:
        offered.append(free_ports(count) if offered else taken)
        return offered[-1]

    monkeypatch.setattr(f"devstack.{server}.free_ports", offer)
    with socket.create_server((LOOPBACK, taken[which])), start([server], tmp_path, durable=False) as stack:
        endpoints = stack.endpoints

    assert len(offered) > 1
    assert offered[-1][0] in (endpoints.sftp_port, urlsplit(endpoints.amqp_url).port)
