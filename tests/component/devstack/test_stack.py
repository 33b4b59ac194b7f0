"""Starting and stopping several servers at once."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from devstack import ServerFailed, Stack, rabbitmq, start
from devstack.local import Folder
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


def test_a_port_that_somebody_took_meanwhile_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[int] = []

    with start(["sshd"], tmp_path / "other", durable=False) as other:
        taken = other.endpoints.sftp_port

        def offer(count: int) -> tuple[int, ...]:
            offered.append(free_ports(1)[0] if offered else taken)
            return (offered[-1],)

        monkeypatch.setattr("devstack.sshd.free_ports", offer)
        with start(["sshd"], tmp_path / "mine", durable=False) as mine:
            port = mine.endpoints.sftp_port

    assert len(offered) == 2
    assert port == offered[1] != taken


@pytest.mark.parametrize("which", range(4), ids=["amqp", "management", "distribution", "epmd"])
def test_the_broker_tells_that_any_of_its_ports_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    ports = free_ports(4)
    monkeypatch.setattr(rabbitmq, "free_ports", lambda count: ports)
    lock_fd = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    folder = Folder(tmp_path, durable=False, lock_fd=lock_fd, stopping=threading.Event())

    with socket.create_server((LOOPBACK, ports[which])), pytest.raises(ServerFailed) as failed:
        rabbitmq.start(folder)
    os.close(lock_fd)

    assert failed.value.port_was_taken
