"""`python -m devstack up`, as people use it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from devstack import given
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_env_file_leads_to_the_servers_and_goes_with_them(tmp_path: Path, number: signal.Signals) -> None:
    env_file = tmp_path / "devstack.env"
    command = [sys.executable, "-m", "devstack", "up", "postgres", "s3"]
    command += ["--data-dir", str(tmp_path / "data"), "--env-file", str(env_file)]
    running = launched(command)
    try:
        url = await eventually(lambda: database_url(env_file), within_s=60)
        await (await asyncpg.connect(url)).close()
        below = psutil.Process(running.pid).children(recursive=True)

        running.send_signal(number)
        output, _ = running.communicate(timeout=30)
    finally:
        running.kill()

    assert running.returncode == 0
    assert "Stopping …" in output
    assert [line.split()[0] for line in output.splitlines() if line.startswith("  ")] == ["postgres", "s3"]
    assert not [process for process in below if process.is_running()]
    assert not env_file.exists()


def launched(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def database_url(env_file: Path) -> str:
    """The URL once the file is complete, else an empty string."""
    text = env_file.read_text() if env_file.exists() else ""
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    found = given.find("postgres", {name: value.strip("'") for name, value in values.items()})
    assert found is None or env_file.stat().st_mode & 0o077 == 0, "it holds passwords"
    return str(found.fields["database_url"]) if found else ""
