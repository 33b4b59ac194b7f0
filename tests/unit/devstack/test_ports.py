from __future__ import annotations

import socket

import pytest

from devstack import ports


def test_ports_are_different_and_free() -> None:
    found = ports.free_ports(20, also=ports.S3_GRPC_OFFSET)

    assert len(set(found)) == 20
    for port in found:
        for number in (port, port + ports.S3_GRPC_OFFSET):
            with socket.create_server((ports.LOOPBACK, number)):
                pass  # binding is the proof


def test_a_port_in_use_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_ports(2)
    monkeypatch.setattr("devstack.ports.random.sample", lambda population, k: [taken, free])

    with socket.create_server((ports.LOOPBACK, taken)):
        assert ports.free_ports(1) == (free,)
