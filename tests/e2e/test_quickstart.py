"""The first quickstart of docs/install.md, word by word: servers in one terminal, the system in others."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from devstack.ports import LOOPBACK, free_ports
from devstack.processes import Command, python, supervise
from devstack.services import run_justai
from tests.support.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
OTHERS = ("generator", "profile_writer", "ingest", "egress", "ranker", "console")


def block() -> list[str]:
    """The lines that the page gives for a system of one's own; the last starts the gateway and stays."""
    page = (ROOT / "docs" / "install.md").read_text()
    [found] = re.findall(r"For a system of your own.*?```\n(.*?)```", page, re.DOTALL)
    lines: list[str] = found.splitlines()
    return lines


def a_clone(at: Path) -> Path:
    """A folder in which the page's lines find what they name, with a `.run` of its own."""
    at.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in {".run", ".git"}:
            (at / entry.name).symlink_to(entry)
    return at


@asynccontextmanager
async def servers_up(clone: Path) -> AsyncIterator[None]:
    """As `make up` keeps them in a terminal; ends by Ctrl-C, which must end them well."""
    env_file = clone / ".run" / "devstack.env"
    command = [*python("devstack"), "up", "--data-dir", str(clone / ".run" / "devstack"), "--env-file", str(env_file)]
    running = await asyncio.create_subprocess_exec(*command, cwd=clone, stdout=asyncio.subprocess.PIPE)
    try:
        await eventually(env_file.exists, within_s=90)
        yield
        running.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            output, _ = await running.communicate()
        assert running.returncode == 0, output
    finally:
        if running.returncode is None:
            running.kill()


def terminal(clone: Path, ports: Mapping[str, str]) -> Command:
    """The one into which the page's block is pasted. It notes its settings for those that open after it."""
    *first, gateway = block()
    script = "\n".join(["set -e", *first, "env -0 >settings", f"exec {gateway}"])
    return Command("first terminal", ["bash", "-c", script], env=ports, cwd=clone)


async def knows_webhooks(url: str) -> bool:
    """Somebody answers there, and asks a webhook for its key."""
    try:
        async with aiohttp.ClientSession() as http, http.post(f"{url}/api/generate/welcome", json={}) as answer:
            return answer.status == HTTPStatus.UNAUTHORIZED
    except aiohttp.ClientConnectionError:
        return False


async def test_the_page_s_lines_give_a_system_that_the_doctor_finds_well(tmp_path: Path) -> None:
    clone = a_clone(tmp_path / "clone")
    gateway, console, *health = free_ports(2 + len(OTHERS))
    ports = {"JUSTAI_GATEWAY_LISTEN": f"{LOOPBACK}:{gateway}", "JUSTAI_CONSOLE_LISTEN": f"{LOOPBACK}:{console}"}
    async with servers_up(clone), supervise([], log_dir=tmp_path / "logs", cwd=clone) as terminals:
        terminals.start(terminal(clone, ports))
        await eventually(lambda: knows_webhooks(f"http://{LOOPBACK}:{gateway}"), within_s=60)
        noted = (clone / "settings").read_text().split("\0")
        env = dict(line.split("=", 1) for line in noted if line.startswith("JUSTAI_"))
        for name, port in zip(OTHERS, health, strict=True):
            argv = [sys.executable, "-m", f"services.{name}"]
            settings = {**env, "JUSTAI_HEALTH_LISTEN": f"{LOOPBACK}:{port}"}
            terminals.start(Command(name, argv, env=settings, ready_url=f"http://{LOOPBACK}:{port}/readyz"))
        await terminals.ready()

        found = json.loads(await run_justai(env, "doctor", "--json"))
        orgs = await run_justai(env, "org", "list")

    assert "acme" in orgs
    assert [one for one in found if one["tone"] == "bad"] == []
