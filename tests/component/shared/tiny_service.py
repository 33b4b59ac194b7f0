"""A service with nothing to do, for tests of the runtime: `python -m tests.component.shared.tiny_service`.

JUSTAI_TINY_SCENARIO says what goes wrong in it.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Literal

from pydantic import Field

from shared import logs, metrics
from shared.errors import Outage
from shared.runtime import Service, run
from shared.settings import ServiceSettings

log = logs.get(__name__)

SECRET = "hunter2-hunter2"
CANARY = "Ann Other, ann@example.com"
SHEDS = tuple(f"shed {number}" for number in range(8))

Scenario = Literal[
    "well", "crashes", "returns", "cancels_itself", "build_fails", "build_hangs", "build_times_out", "check_fails",
    "checks_hang", "will_not_drain", "ignores_cancellation", "thread_hangs", "close_fails", "close_hangs",
    "crashes_while_draining",
]  # fmt: skip


class Settings(ServiceSettings):
    """What the tiny service is told."""

    tiny_scenario: Scenario = Field("well", description="What goes wrong.")


@asynccontextmanager
async def resource(name: str, scenario: Scenario) -> AsyncIterator[None]:
    log.info("resource.opened", name=name)
    try:
        yield
    finally:
        if name == "b" and scenario == "close_fails":
            raise RuntimeError(CANARY)
        if name == "b" and scenario == "close_hangs":
            await asyncio.Event().wait()
        log.info("resource.closed", name=name)


async def build(settings: Settings, stack: AsyncExitStack) -> Service:
    scenario = settings.tiny_scenario
    for name in ("a", "b", "c"):
        await stack.enter_async_context(resource(name, scenario))
    match scenario:
        case "build_fails":
            raise RuntimeError(f"no luck with {settings.database_url.get_secret_value()}")
        case "build_hangs":
            await asyncio.Event().wait()
        case "build_times_out":
            raise TimeoutError

    async def work(stop: asyncio.Event) -> None:
        metrics.count("jobs_settled_total", queue="tiny", verdict="ack")
        if scenario == "returns":
            return
        await misbehave(scenario, stop)
        await stop.wait()
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, over.set)
        log.info("work.draining")
        with suppress(TimeoutError):  # what is in hand: until who looks at readiness meanwhile says that it has seen it
            async with asyncio.timeout(15 if scenario == "well" else 0.3):
                await over.wait()
        if scenario == "crashes_while_draining":
            raise KeyError(CANARY)
        log.info("work.drained")

    async def idle(stop: asyncio.Event) -> None:
        await stop.wait()

    async def fail() -> None:
        if scenario == "check_fails":
            raise Outage("the cellar is flooded")

    async def stumble() -> None:
        if scenario == "check_fails":
            raise ValueError(CANARY)

    async def hang() -> None:
        if scenario == "checks_hang":
            await asyncio.Event().wait()

    checks = {"cellar": fail, "attic": stumble, "roof": hang, "yard": hang, **dict.fromkeys(SHEDS, hang)}
    return Service("tiny", {"work": work, "idle": idle}, checks)


async def misbehave(scenario: Scenario, stop: asyncio.Event) -> None:
    match scenario:
        case "crashes":
            raise KeyError(CANARY)
        case "cancels_itself":
            raise asyncio.CancelledError
        case "will_not_drain":
            await asyncio.Event().wait()
        case "ignores_cancellation":
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
        case "thread_hangs":
            await stop.wait()
            asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)


if __name__ == "__main__":
    raise SystemExit(run(build, Settings))
