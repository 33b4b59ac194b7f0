"""How a service starts, tells its health, and stops. The only place that knows signals, ports and exit codes.

From the first signal, or the first runner that ended, on: readiness is red, runners finish what they have in hand
within `drain_s`, resources close in reverse order within 10 s more; whatever hangs then, the process ends. An
orchestrator must not kill it earlier: the grace periods in deploy/ are checked for that.
"""

import asyncio
import gc
import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import uvloop
from aiohttp import web
from pydantic import SecretStr

from shared import logs, metrics, tracing
from shared.clock import first_of
from shared.errors import Failure
from shared.settings import S, ServiceSettings, host_and_port, read_or_exit

log = logs.get(__name__)

Runner = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Works until the event is set, then finishes what it has in hand. Ending early is a failure of the service."""

Check = Callable[[], Awaitable[None]]
"""Raises when the service cannot do its work; the text says why."""

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""What a path of ours says."""

_CHECK_TIMEOUT_S = 2.0
_CANCEL_S = 2.0  # what a runner that was not drained gets to clean up after itself
_CLOSE_S = 10.0
_LAST_WORDS_S = 1.0
_ASK_EVERY_S = 5.0


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
    name = _name_of(settings_type)
    logs.configure(name, level=settings.log_level, style=settings.log_format, secrets=_secrets(settings))
    return uvloop.run(_live(build, settings))


def _name_of(settings_type: type[ServiceSettings]) -> str:
    """`services.gateway.settings` is the gateway."""
    *_, package, module = ("", *settings_type.__module__.split("."))
    return package or module


def _secrets(settings: ServiceSettings) -> Iterator[str]:
    """Everything that no log line may show: the secrets, the keys in lists of them, the passwords in URLs."""
    for _, value in settings:
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            yield text
            yield from (part.partition(":")[2].strip() for part in re.split(r"[,\n]", text))
            with suppress(ValueError):
                password = urlsplit(text).password or ""
                yield password
                yield unquote(password)


async def _live(build: "Build[S]", settings: S) -> int:
    stop = asyncio.Event()
    end = _End(settings.drain_s + _CLOSE_S)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, end)
    stopping = asyncio.create_task(stop.wait())
    stopping.add_done_callback(lambda _: end.must_come())
    try:
        name = _name_of(type(settings))
        async with tracing.sending(name, settings.otlp_url, settings.trace_share), AsyncExitStack() as stack:
            failed = await _work(build, settings, stack, stop)
            stop.set()
    except Exception as error:  # a resource that does not close: the others were closed all the same
        log.error("service.close_failed", exc_info=error)
        failed = True
    log.info("service.stopped", failed=failed)
    return 1 if failed else 0


def _on_signal(stop: asyncio.Event, end: "_End") -> None:
    if stop.is_set():
        end.now()  # asked twice
    stop.set()


class _End:
    """The last resort: a thread that ends the process, whatever the event loop, a thread or a socket waits for."""

    def __init__(self, within_s: float) -> None:
        self._timer = threading.Timer(within_s, self.now)
        self._timer.daemon = True

    def must_come(self) -> None:
        """From now on the time runs. To be called once."""
        self._timer.start()

    def now(self) -> None:
        """Leave without a farewell; even the log may be what hangs."""
        words = threading.Thread(target=partial(log.error, "service.forced_out"), daemon=True)
        words.start()
        words.join(_LAST_WORDS_S)
        os._exit(1)


async def _work(build: "Build[S]", settings: S, stack: AsyncExitStack, stop: asyncio.Event) -> bool:
    """All that lies between opening and closing; True when it failed."""
    log.info("service.configured", **settings.summary())
    try:
        service = await _start(build, settings, stack, stop)
    except Exception as error:  # whatever went wrong at start: one line, exit 1, the orchestrator retries
        # No person's value is in this process yet, and the text is what the operator needs.
        log.error("service.start_failed", error=str(error), exc_info=error)
        return True
    if service is None:
        log.info("service.not_started", why="asked to stop")
        return False
    return await _run_until_stopped(service, stop, settings.drain_s)


async def _start(build: "Build[S]", settings: S, stack: AsyncExitStack, stop: asyncio.Event) -> Service | None:
    """The service, its health served; None when it was asked to stop before it was there."""
    asked = asyncio.create_task(stop.wait())

    def cut_short(_: "asyncio.Task[Any]") -> None:
        if stop.is_set():
            with suppress(RuntimeError):  # it is there already
                patience.reschedule(0)

    try:
        # Cut short from within, not run as a task: what `build` enters must be left by the task that entered it.
        async with asyncio.timeout(None) as patience:
            asked.add_done_callback(cut_short)
            service = await build(settings, stack)
            settle_heap()
            port = await _serve_health(service, settings, stack, stop)
    except TimeoutError:
        if patience.expired():
            return None
        raise
    finally:
        asked.cancel()
    log.info("service.started", name=service.name, health_port=port)
    return service


def settle_heap() -> None:
    """What is there once a service has started stays until it ends: out of the sight of the garbage collector, whose
    full rounds otherwise stop the loop for a tenth of a second, the more often the more a request makes."""
    gc.collect()
    gc.freeze()


async def _run_until_stopped(service: Service, stop: asyncio.Event, drain_s: float) -> bool:
    """True when a runner ended on its own, crashed, or did not drain in time."""
    runners: Mapping[str, Runner] = {
        **service.runners, "loop_lag": _watch_loop, "readiness": partial(_tell_readiness, service.checks),
    }  # fmt: skip
    tasks = {asyncio.create_task(runner(stop), name=name) for name, runner in runners.items()}
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
    early = set() if stop.is_set() else {task for task in tasks if task.done()}
    stop.set()
    stopped.cancel()
    _, late = await asyncio.wait(tasks, timeout=drain_s)
    for task in late:
        log.error("runner.not_drained", runner=task.get_name(), drain_s=drain_s)
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_CANCEL_S)
    crashed = {task for task in tasks - late if task.cancelled() or task.exception() is not None}
    for task in early | crashed:
        log.error("runner.ended", runner=task.get_name(), exc_info=None if task.cancelled() else task.exception())
    return bool(early or late or crashed)


async def _watch_loop(stop: asyncio.Event) -> None:
    """A loop that is late for a timer is late for everything; tasks that nobody ends are memory that nobody sees."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        metrics.gauge("event_loop_tasks", len(asyncio.all_tasks(loop)))
        due = loop.time() + 1.0
        try:
            async with asyncio.timeout(1.0):
                await stop.wait()
        except TimeoutError:
            metrics.gauge("event_loop_lag_seconds", max(0.0, loop.time() - due))


async def _tell_readiness(checks: Mapping[str, Check], stop: asyncio.Event) -> None:
    """What /readyz says, for alerts: a service that cannot work and waits until it can counts nothing that would rise,
    and kubernetes sends nothing more to one that is not ready."""
    while not stop.is_set():
        await first_of(_tell_once(checks), stop.wait())
        await first_of(asyncio.sleep(_ASK_EVERY_S), stop.wait())


async def _tell_once(checks: Mapping[str, Check]) -> None:
    reasons = await failing(checks)
    for name in checks:
        metrics.gauge("not_ready", name in reasons, check=name)


async def _serve_health(service: Service, settings: ServiceSettings, stack: AsyncExitStack, stop: asyncio.Event) -> int:
    app = web.Application()
    for path, answer in health_routes(service.checks, stop).items():
        app.router.add_get(path, answer)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=15, shutdown_timeout=_CHECK_TIMEOUT_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    host, port = host_and_port(settings.health_listen)
    site = web.TCPSite(runner, host, port)
    await site.start()
    return int(runner.addresses[0][1])


def health_routes(checks: Mapping[str, Check], stop: asyncio.Event) -> dict[str, Answer]:
    """By path. /healthz: the loop turns (never looks at other servers: a restart would not heal them). /readyz: it can
    do its work, else 503 with the reasons. /metrics: for Prometheus."""

    async def healthz(_: web.BaseRequest) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.BaseRequest) -> web.Response:
        reasons = await failing(checks)
        if stop.is_set():
            reasons["service"] = "stopping"
        return web.json_response(
            {"status": "not ready" if reasons else "ready", "reasons": reasons}, status=503 if reasons else 200
        )

    async def exposition(_: web.BaseRequest) -> web.Response:
        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    return {"/healthz": healthz, "/readyz": readyz, "/metrics": exposition}


async def failing(checks: Mapping[str, Check]) -> dict[str, str]:
    """The checks that fail now, with why; all are asked at once, so the answer takes no longer than the slowest."""
    answers = await asyncio.gather(*(_answer(check) for check in checks.values()))
    return {name: why for name, why in zip(checks, answers, strict=True) if why is not None}


async def _answer(check: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001  # any failure of a check is its answer
        return str(error) if isinstance(error, Failure | OSError) and str(error) else type(error).__name__
    return None
