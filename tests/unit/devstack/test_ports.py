from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from devstack import ports


def test_ports_are_different_and_free() -> None:
    found = ports.free_ports(20, also=ports.S3_GRPC_OFFSET)

    assert len(set(found)) == 20
    for port in found:
        for number in (port, port + ports.S3_GRPC_OFFSET):
            with socket.create_server((ports.LOOPBACK, number)):
                pass  # binding is the proof


def test_who_asks_for_none_takes_none_from_others() -> None:
    assert ports.free_ports(0) == ()
    assert len(ports.free_ports(20)) == 20


def test_a_port_in_use_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_ports(2)
    monkeypatch.setattr("devstack.ports._OURS_FOR_S", -1.0)
    monkeypatch.setattr("devstack.ports.random.sample", lambda population, k: [taken, free])

    with socket.create_server((ports.LOOPBACK, taken)):
        assert ports.free_ports(1) == (free,)


def test_a_port_is_not_given_twice_while_its_server_may_still_be_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    given, other = ports.free_ports(2)
    [later] = ports.free_ports(1)
    monkeypatch.setattr("devstack.ports.random.sample", lambda population, k: [given, later, other])
    ask = f"import random; random.sample = lambda population, k: [{given}, {other}]; "
    ask += "from devstack import ports; ports.free_ports(1)"

    with pytest.raises(OSError, match="no 1 free ports"):
        ports.free_ports(1)
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    assert "no 1 free ports" in asked.stderr
