"""The supervisor of our own services: ready means ready, one death ends all, nothing stays."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from devstack.ports import free_ports
from devstack.processes import Command, ProcessDied, supervise
from tests.support.waiting import eventually

SERVE = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
print('{"at":"2026-01-02T03:04:05.678+00:00","level":"info","event":"service.started","port":%s}' % sys.argv[1])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""

BREAK_WHEN_TOLD = """
import pathlib, time
while not pathlib.Path(%r).exists(): time.sleep(0.02)
raise SystemExit("no disk left")
"""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def service(name: str, *, ready: bool = True) -> Command:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/readyz" if ready else None
    return Command(name, [sys.executable, "-c", SERVE, str(port)], ready_url=url, stop_within_s=5)


def script(name: str, code: str, *, stop_within_s: float = 5) -> Command:
    return Command(name, [sys.executable, "-c", code], stop_within_s=stop_within_s)


async def test_everything_is_ready_inside_and_gone_outside(tmp_path: Path) -> None:
    lines: list[str] = []

    async with supervise([service("one"), service("two")], log_dir=tmp_path, echo=lines.append) as processes:
        pids = processes.pids
        alive_inside = all(alive(pid) for pid in pids.values())

    assert set(pids) == {"one", "two"}
    assert alive_inside
    assert not any(alive(pid) for pid in pids.values())
    assert any(line.startswith("one            | 03:04:05.678 info    service.started port=") for line in lines)


async def test_one_death_stops_all_and_says_which_with_its_last_lines(tmp_path: Path) -> None:
    broken = script("broken", BREAK_WHEN_TOLD % str(tmp_path / "break-now"))
    pids: dict[str, int] = {}

    async def story() -> None:
        async with supervise([service("steady"), broken], log_dir=tmp_path) as processes:
            pids.update(processes.pids)
            (tmp_path / "break-now").touch()
            await asyncio.sleep(30)  # cut short by the death

    with pytest.raises(ProcessDied) as died:
        await story()

    assert str(died.value) == "broken ended with code 1\n  | no disk left"
    assert not alive(pids["steady"])


async def test_a_service_that_never_gets_ready_is_named(tmp_path: Path) -> None:
    never = Command(
        "mute", [sys.executable, "-c", "import time; time.sleep(60)"], ready_url="http://127.0.0.1:1/readyz"
    )

    with pytest.raises(ProcessDied, match=r"mute was not ready within 0\.3 s"):
        async with supervise([never], log_dir=tmp_path, ready_within_s=0.3):
            pytest.fail("entered although nothing was ready")


async def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    missing = Command("missing", ["/no/such/program"], ready_url="http://127.0.0.1:1/readyz")

    with pytest.raises(ProcessDied, match=r"missing ended with code 127\n.*/no/such/program: No such file"):
        async with supervise([missing], log_dir=tmp_path):
            pytest.fail("entered although nothing was ready")


async def test_the_bodys_own_error_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with supervise([service("one")], log_dir=tmp_path):
            _ = 1 // 0


async def test_a_process_that_ignores_sigterm_is_killed_after_its_deadline(tmp_path: Path) -> None:
    deaf = script(
        "deaf",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
        stop_within_s=0.3,
    )
    async with supervise([deaf], log_dir=tmp_path) as processes:
        pid = processes.pids["deaf"]
        await eventually(lambda: "deaf" in (tmp_path / "deaf.log").read_text())

    assert not alive(pid)


async def test_one_process_can_be_killed_and_started_again_on_purpose(tmp_path: Path) -> None:
    one = service("one")
    async with supervise([one, service("two")], log_dir=tmp_path) as processes:
        first = processes.pids["one"]

        codes = await processes.end("one", kill=True)
        processes.start(one)
        await processes.ready("one")

        assert codes == {"one": 137}
        assert processes.pids["one"] != first
