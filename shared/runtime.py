"""How a service starts, tells its health, and stops. The only place that knows signals, ports and exit codes."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import uvloop
from aiohttp import web

from shared import logs, metrics
from shared.settings import S, ServiceSettings, host_and_port, read_or_exit

log = logs.get(__name__)

Runner = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Works until the event is set, then finishes what it has in hand. Ending early is a failure of the service."""

Check = Callable[[], Awaitable[None]]
"""Raises when the service cannot do its work; the text says why."""

_CHECK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Service:
    """What `build` hands over."""

    name: str
    runners: Mapping[str, Runner]
    checks: Mapping[str, Check] = field(default_factory=dict)


Build = Callable[[S, AsyncExitStack], Awaitable[Service]]


def run(build: "Build[S]", settings_type: type[S]) -> int:
    """The whole life of a service process; returns its exit code: 0 stopped as asked, 1 failed, 2 misconfigured."""
    settings = read_or_exit(settings_type)
    return uvloop.run(_live(build, settings))


async def _live(build: "Build[S]", settings: S) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop)
    async with AsyncExitStack() as stack:
        service = await _start(build, settings, stack, stop)
        if service is None:
            return 1
        failed = await _run_until_stopped(service, stop, settings.drain_s)
    log.info("service.stopped", failed=failed)
    return 1 if failed else 0


async def _start(build: "Build[S]", settings: S, stack: AsyncExitStack, stop: asyncio.Event) -> Service | None:
    name = type(settings).__module__.split(".")[-2]
    logs.configure(name, level=settings.log_level, style=settings.log_format)
    log.info("service.configured", **settings.summary())
    try:
        service = await build(settings, stack)
        port = await _serve_health(service, settings, stack, stop)
    except Exception as error:  # whatever went wrong at start: one line, exit 1, the orchestrator retries
        log.error("service.start_failed", exc_info=error)
        return None
    log.info("service.started", health_port=port)
    return service


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        raise SystemExit(1)  # asked twice: now
    stop.set()


async def _run_until_stopped(service: Service, stop: asyncio.Event, drain_s: float) -> bool:
    """True when a runner ended on its own or did not drain in time."""
    tasks = {
        asyncio.create_task(runner(stop), name=name)
        for name, runner in {**service.runners, "loop_lag": _watch_loop}.items()
    }
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
    failed = False
    for task in done - {stopped}:
        if not stop.is_set() or task.exception() is not None:
            failed = True
            log.error("runner.ended", runner=task.get_name(), exc_info=task.exception())
    stop.set()
    stopped.cancel()
    _, late = await asyncio.wait(tasks, timeout=drain_s)
    for task in late:
        log.error("runner.not_drained", runner=task.get_name(), drain_s=drain_s)
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for task, result in zip(tasks, results, strict=True):
        if isinstance(result, Exception) and task not in done:
            failed = True
            log.error("runner.ended", runner=task.get_name(), exc_info=result)
    return failed or bool(late)


async def _watch_loop(stop: asyncio.Event) -> None:
    """A loop that is late for a timer is late for everything."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        due = loop.time() + 1.0
        try:
            async with asyncio.timeout(1.0):
                await stop.wait()
        except TimeoutError:
            metrics.gauge("event_loop_lag_seconds", max(0.0, loop.time() - due))


async def _serve_health(service: Service, settings: ServiceSettings, stack: AsyncExitStack, stop: asyncio.Event) -> int:
    app = web.Application()
    add_health(app, service.checks, stop)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=15)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    host, port = host_and_port(settings.health_listen)
    site = web.TCPSite(runner, host, port)
    await site.start()
    return int(runner.addresses[0][1])


def add_health(app: web.Application, checks: Mapping[str, Check], stop: asyncio.Event) -> None:
    """/healthz: the loop turns (never looks at other servers: a restart would not heal them). /readyz: it can do
    its work, else 503 with the reasons. /metrics: for Prometheus."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        reasons = await failing(checks)
        if stop.is_set():
            reasons["service"] = "stopping"
        return web.json_response(
            {"status": "not ready" if reasons else "ready", "reasons": reasons}, status=503 if reasons else 200
        )

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)


async def failing(checks: Mapping[str, Check]) -> dict[str, str]:
    """The checks that fail now, with why."""
    reasons: dict[str, str] = {}
    for name, check in checks.items():
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await check()
        except Exception as error:  # noqa: BLE001  # any failure of a check is its answer
            reasons[name] = str(error) or type(error).__name__
    return reasons
