"""The life of a service process, from outside: signals in, exit codes, health and log lines out."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.component.shared.tiny_service import CANARY, SECRET, SHEDS, Scenario
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
KEY = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SETTINGS = {
    "JUSTAI_DATABASE_URL": f"postgresql://justai:{SECRET}@127.0.0.1:1/justai",
    "JUSTAI_AMQP_URL": f"amqp://justai:{SECRET}@127.0.0.1:1/",
    "JUSTAI_SEAL_KEYS": KEY,
    "JUSTAI_API_KEY_PEPPERS": KEY.replace("k1", "1"),
}
START_S = 20.0  # a process that imports aiohttp, on a busy machine


class Tiny:
    """One running process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output += line.decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{") and line.endswith("}")]

    def events(self) -> list[str]:
        """What happened, in order."""
        return [line["event"] + (f" {line['name']}" if "resource" in line["event"] else "") for line in self.lines]

    async def seen(self, event: str) -> dict[str, Any]:
        """The first line of this name, once it is there."""

        def wanted() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["event"] == event]

        return (await eventually(wanted, within_s=START_S))[0]

    async def get(self, path: str) -> tuple[int, str]:
        port = (await self.seen("service.started"))["health_port"]
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"http://127.0.0.1:{port}{path}") as response,
        ):
            return response.status, await response.text()

    async def ready(self) -> tuple[int, dict[str, str]]:
        status, body = await self.get("/readyz")
        return status, json.loads(body)["reasons"]

    async def ended(self, within_s: float = START_S) -> int:
        async with asyncio.timeout(within_s):
            code = await self.process.wait()
            await self._reading
        return code


@asynccontextmanager
async def tiny(scenario: Scenario = "well", **settings: str) -> AsyncIterator[Tiny]:
    env = {"PATH": os.environ["PATH"], **SETTINGS, "JUSTAI_TINY_SCENARIO": scenario, **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.component.shared.tiny_service", cwd=ROOT, env=env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    running = Tiny(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_asked_to_stop_it_turns_red_drains_closes_in_reverse_and_exits_0(number: signal.Signals) -> None:
    async with tiny() as service:
        before = await service.ready()
        service.process.send_signal(number)
        await service.seen("work.draining")
        draining = await service.ready()
        healthy = await service.get("/healthz")
        service.process.send_signal(signal.SIGUSR1)
        code = await service.ended()

    assert before == (200, {})
    assert draining == (503, {"service": "stopping"})
    assert healthy[0] == 200
    assert code == 0
    assert service.events() == [
        "service.configured", "resource.opened a", "resource.opened b", "resource.opened c", "service.started",
        "work.draining", "work.drained", "resource.closed c", "resource.closed b", "resource.closed a",
        "service.stopped",
    ]  # fmt: skip


@pytest.mark.parametrize("scenario", ["crashes", "returns", "cancels_itself", "crashes_while_draining"])
async def test_a_runner_that_ends_in_any_other_way_ends_the_service_with_exit_1(scenario: Scenario) -> None:
    async with tiny(scenario) as service:
        if scenario == "crashes_while_draining":
            await service.seen("service.started")
            service.process.terminate()
        code = await service.ended()

    assert code == 1
    assert (await service.seen("runner.ended"))["runner"] == "work"
    assert service.events()[-4:-1] == ["resource.closed c", "resource.closed b", "resource.closed a"]
    assert CANARY not in service.output


async def test_a_failing_check_turns_readiness_red_and_says_which_but_not_liveness() -> None:
    async with tiny("check_fails") as service:
        ready = await service.ready()
        healthy = await service.get("/healthz")

    assert ready == (503, {"cellar": "the cellar is flooded", "attic": "ValueError"})
    assert healthy == (200, '{"status": "ok"}')


async def test_a_failing_check_is_told_to_prometheus_though_nobody_asks_whether_the_service_is_ready() -> None:
    async with tiny("check_fails") as service:
        told = await eventually(lambda: _not_ready(service), within_s=15)

    assert told == {"cellar": 1.0, "attic": 1.0, "roof": 0.0, "yard": 0.0, **dict.fromkeys(SHEDS, 0.0)}


async def _not_ready(service: Tiny) -> dict[str, float]:
    _, text = await service.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {one.labels["check"]: one.value for one in families["jai_not_ready"].samples}


async def test_checks_that_hang_are_cut_off_all_at_once() -> None:
    async with tiny("checks_hang") as service:
        await service.seen("service.started")
        began = time.monotonic()
        status, reasons = await service.ready()
        took_s = time.monotonic() - began

    assert (status, set(reasons)) == (503, {"roof", "yard", *SHEDS})
    assert took_s < 9  # two seconds, not two for each of ten


async def stopped(scenario: Scenario) -> tuple[Tiny, int, float]:
    """A service that had half a second to drain: itself, its exit code, the seconds that it took to end."""
    async with tiny(scenario, JUSTAI_DRAIN_S="0.5") as service:
        await service.seen("service.started")
        began = time.monotonic()
        service.process.terminate()
        code = await service.ended()
        return service, code, time.monotonic() - began


async def test_a_runner_that_does_not_drain_in_time_is_cancelled_and_everything_closed_with_exit_1() -> None:
    service, code, took_s = await stopped("will_not_drain")

    assert code == 1
    assert took_s < 0.5 + 10
    assert "runner.not_drained" in service.events()
    assert service.events()[-4:-1] == ["resource.closed c", "resource.closed b", "resource.closed a"]


async def test_whatever_hangs_the_process_is_gone_ten_seconds_after_the_drain_with_exit_1() -> None:
    hanging: tuple[Scenario, ...] = ("ignores_cancellation", "thread_hangs", "close_hangs")

    ends = await asyncio.gather(*map(stopped, hanging))

    for service, code, took_s in ends:
        assert code == 1
        assert took_s < 0.5 + 10 + 1 + 8  # drain, closing, last words, a busy machine
        assert service.events()[-1] == "service.forced_out"


async def test_asked_twice_it_leaves_at_once() -> None:
    async with tiny("will_not_drain") as service:
        await service.seen("service.started")
        service.process.terminate()
        await eventually(lambda: _is_red(service))
        service.process.terminate()
        code = await service.ended(within_s=15)  # the drain would be 20

    assert code == 1


async def _is_red(service: Tiny) -> bool:
    return (await service.ready())[0] == 503


@pytest.mark.parametrize("scenario", ["build_fails", "build_times_out"])
async def test_a_start_that_fails_closes_what_was_open_and_exits_1_without_telling_secrets(scenario: Scenario) -> None:
    async with tiny(scenario) as service:
        code = await service.ended()

    assert code == 1
    assert service.events()[-5:] == [
        "service.start_failed", "resource.closed c", "resource.closed b", "resource.closed a", "service.stopped",
    ]  # fmt: skip
    assert SECRET not in service.output
    if scenario == "build_fails":
        assert "no luck with" in (await service.seen("service.start_failed"))["error"]


async def test_asked_to_stop_while_it_still_starts_it_does_and_exits_0() -> None:
    async with tiny("build_hangs") as service:
        await service.seen("resource.opened")
        await eventually(lambda: "resource.opened c" in service.events())
        service.process.terminate()
        code = await service.ended(within_s=15)  # the drain would be 20

    assert code == 0
    assert service.events()[-4:] == ["resource.closed c", "resource.closed b", "resource.closed a", "service.stopped"]


async def test_a_resource_that_does_not_close_keeps_no_other_open_and_is_exit_1() -> None:
    async with tiny("close_fails") as service:
        await service.seen("service.started")
        service.process.terminate()
        code = await service.ended()

    assert code == 1
    assert [event for event in service.events() if "closed" in event] == ["resource.closed c", "resource.closed a"]
    assert "service.close_failed" in service.events()
    assert CANARY not in service.output


async def test_bad_settings_are_exit_2_with_every_fault_and_no_secret() -> None:
    bad = {"JUSTAI_DRAIN_S": "-1", "JUSTAI_LOG_LEVEL": "LOUD", "JUSTAI_HEALTH_LISTEN": "x", "JUSTAI_TINY_TYPO": "1"}
    async with tiny("well", **bad, JUSTAI_SEAL_KEYS="", JUSTAI_CLOCK=SECRET) as service:
        code = await service.ended()

    assert code == 2
    named = re.findall(r"^(JUSTAI_\w+):", service.output, re.MULTILINE)
    assert sorted(named) == sorted([*bad, "JUSTAI_SEAL_KEYS", "JUSTAI_CLOCK"])
    assert KEY not in service.output


async def test_a_taken_health_port_fails_the_start() -> None:
    async with tiny() as first:
        port = (await first.seen("service.started"))["health_port"]
        async with tiny(JUSTAI_HEALTH_LISTEN=f"127.0.0.1:{port}") as second:
            code = await second.ended()

    assert code == 1
    assert "service.start_failed" in second.events()


async def test_the_metrics_can_be_scraped() -> None:
    async with tiny() as service:
        scraped = [await service.get("/metrics") for _ in range(2)]

    told = []
    for status, text in scraped:
        families = {family.name: family for family in text_string_to_metric_families(text)}
        [settled] = [one for one in families["jai_jobs_settled"].samples if one.name == "jai_jobs_settled_total"]
        told.append((status, settled.labels, settled.value))
    labels = {"queue": "tiny", "verdict": "ack"}
    assert told == [(200, labels, 0.0), (200, labels, 1.0)]  # so that Prometheus sees it rise
    assert "jai_guardrail_pauses" in families
    [tasks] = families["jai_event_loop_tasks"].samples
    assert tasks.value >= 1  # who counts them is one
