"""A service in the test's own process, as its process runs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.runtime import Service, failing
from tests.support.waiting import eventually


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[None]:
    """Its runners, from ready until drained."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for name, runner in service.runners.items():
            tasks.create_task(runner(stop), name=name)
        try:
            await eventually(lambda: _ready(service), within_s=15)
            yield
        finally:
            stop.set()


async def _ready(service: Service) -> None:
    assert await failing(service.checks) == {}
