"""Our own services as processes on given servers: their environment and their command lines.

Used by the demo, the benchmarks and the end-to-end tests, so that all three run the very programs that ship.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, python

SERVICES = ("gateway", "generator", "profile_writer", "ingest", "ranker", "egress")


_COMMAND_TIMEOUT_S = 120.0
_ROOT = Path(__file__).parents[1]


class CommandFailed(Exception):
    """A `justai` command did not succeed; the text is what it printed."""


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
        "allow_private_hosts": "true",
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
                **({"JUSTAI_CONSOLE_GATEWAY_URL": gateway_url} if name == "console" else {}),
            },
            ready_url=f"{health[name]}/readyz",
        )
        for name in names
    ]
    return Running(commands, gateway_url)


def justai(*arguments: str) -> list[str]:
    """The command line of our own command, in this interpreter."""
    return [sys.executable, "-m", "cli", *arguments]


async def run_justai(env: Mapping[str, str], *arguments: str, given: str = "") -> str:
    """Run our own command as a person would; its output. Raises CommandFailed."""
    process = await asyncio.create_subprocess_exec(
        *justai(*arguments),
        env={**os.environ, **env, "COLUMNS": "120"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=_ROOT,
    )
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT_S):
            output, _ = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise CommandFailed(f"justai {' '.join(arguments)}\n{output.decode()}")
    return output.decode()


def _secret() -> str:
    return base64.b64encode(os.urandom(32)).decode()
