"""How the aiohttp peers are served: as the gateway is, on uvloop, without an access log."""

import asyncio
from collections.abc import Awaitable, Callable

import uvloop
from aiohttp import web


def serve(app: Callable[[], Awaitable[web.Application]], port: int) -> None:
    """Until killed."""
    uvloop.run(_serve(app, port))


async def _serve(app: Callable[[], Awaitable[web.Application]], port: int) -> None:
    runner = web.AppRunner(await app(), access_log=None, keepalive_timeout=15)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()
