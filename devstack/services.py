"""Our own services as processes on given servers: their environment and their command lines.

Used by the demo, the benchmarks and the end-to-end tests, so that all three run the very programs that ship.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, python

SERVICES = ("gateway", "generator", "profile_writer", "ingest", "egress")


@dataclass(frozen=True, slots=True)
class Running:
    """Where the services of one start are."""

    commands: Sequence[Command]
    gateway_url: str


def environment(*, database_url: str, amqp_url: str, clock: str = "system", **more: str) -> dict[str, str]:
    """The settings that all services share, with fresh keys; `more` are further settings by name in lower case."""
    settings = {
        "database_url": database_url,
        "amqp_url": amqp_url,
        "clock": clock,
        "seal_keys": f"k1:{_secret()}",
        "api_key_peppers": f"1:{_secret()}",
        **more,
    }
    return {f"JUSTAI_{name.upper()}": value for name, value in settings.items()}


def services(env: Mapping[str, str], names: Sequence[str] = SERVICES) -> Running:
    """Commands of these services on free ports."""
    gateway_port, *health_ports = free_ports(len(names) + 1)
    gateway_url = f"http://{LOOPBACK}:{gateway_port}"
    health = {name: f"http://{LOOPBACK}:{port}" for name, port in zip(names, health_ports, strict=True)}
    commands = [
        Command(
            name,
            python(f"services.{name}"),
            env={
                **env,
                "JUSTAI_HEALTH_LISTEN": health[name].removeprefix("http://"),
                **({"JUSTAI_GATEWAY_LISTEN": f"{LOOPBACK}:{gateway_port}"} if name == "gateway" else {}),
            },
            ready_url=f"{health[name]}/readyz",
        )
        for name in names
    ]
    return Running(commands, gateway_url)


def justai(*arguments: str) -> list[str]:
    """The command line of our own command, in this interpreter."""
    return [sys.executable, "-m", "cli", *arguments]


def _secret() -> str:
    return base64.b64encode(os.urandom(32)).decode()
