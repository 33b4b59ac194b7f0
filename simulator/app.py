"""Puts the box together and serves it: Klaviyo's API under `/api`, its own buttons under `/_sim`, on one port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from simulator.admin.routes import add_admin_routes
from simulator.api.gate import Gate
from simulator.api.routes import add_routes
from simulator.deferred import Deferred
from simulator.flow.runner import FlowRunner
from simulator.world import World

# Above the largest body the API takes (5 MB), so that the API's own limit answers first.
READ_MAX_BYTES = 8_000_000
SHUTDOWN_S = 2.0


@dataclass(frozen=True, slots=True)
class Box:
    """A running simulator. `url` is its origin, without a slash at the end."""

    world: World
    runner: FlowRunner
    url: str


def build_app(world: World, runner: FlowRunner, deferred: Deferred) -> web.Application:
    app = web.Application(client_max_size=READ_MAX_BYTES)
    add_routes(app, Gate(world, deferred))
    add_admin_routes(app, world, runner)
    return app


@asynccontextmanager
async def serving(world: World, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Box]:
    """Serve a world until the block ends; port 0 takes a free one. The world's ledger file is closed at the end."""
    runner, deferred = FlowRunner(world), Deferred(world.clock)
    server = web.AppRunner(build_app(world, runner, deferred), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await server.setup()
    flushing = asyncio.create_task(world.ledger_file.keep_flushing()) if world.ledger_file else None
    try:
        await runner.start()
        site = web.TCPSite(server, host, port)
        await site.start()
        bound = server.addresses[0][1]
        yield Box(world, runner, f"http://{host}:{bound}")
    finally:
        await runner.close()
        await deferred.close()
        await server.cleanup()
        if flushing is not None and world.ledger_file is not None:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)
            world.ledger_file.close()
