"""Our client and the account in a box that it talks to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from shared.clock import FrozenClock
from shared.klaviyo.client import KlaviyoClient
from simulator.account import Account
from simulator.admin.bodies import FlowBody
from simulator.admin.build import build_flow
from simulator.app import Box, serving
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.contract.klaviyo_spec import check_request, load_spec
from tests.support.loopback import hosted

PAGE_SCOPES = {"flows:read", "campaigns:read", "metrics:read", "profiles:write"}


class Hurrying:
    """The box's clock for an impatient client: it sleeps by moving that clock on."""

    def __init__(self, clock: FrozenClock | None = None) -> None:
        self._clock = clock or FrozenClock()
        self.now, self.monotonic = self._clock.now, self._clock.monotonic

    async def sleep(self, seconds: float) -> None:
        self._clock.advance(max(0.0, seconds))
        await asyncio.sleep(0)


@asynccontextmanager
async def account_in_a_box(
    scopes: set[str] = PAGE_SCOPES, settings: SimulatorSettings | None = None
) -> AsyncIterator[tuple[KlaviyoClient, Box, Account]]:
    """A client with a key of these scopes. In the end every request that the box has taken is held to the document."""
    clock = FrozenClock()
    world = World(clock, settings, 1)
    account = world.add_account("Corner Shop", phase_s=0.0)
    key = world.add_key(account, scopes)
    async with serving(world) as box, aiohttp.ClientSession() as session:
        yield KlaviyoClient(session, box.url, key.value, clock=Hurrying(clock)), box, account
    if (spec := load_spec()) is not None:
        for request in world.log.since(0, None, 10_000):
            if request.status < 300:  # the box does not read what it refuses
                check_request(spec, request.method, request.path, request.headers, request.body)


def profile(box: Box, account: Account, email: str = "ann@people.example") -> str:
    return box.world.add_profile(account, {"email": email})


def add_flows(box: Box, account: Account, count: int) -> None:
    webhook = {"type": "send-webhook", "url": "https://copy.example/api/generate/acme", "body": "{}"}
    steps = [webhook, {"type": "time-delay", "value": 5}, {"type": "send-email", "subject": "s", "html": "h"}]
    for number in range(count):
        build_flow(box.world, account, FlowBody.model_validate({"name": f"Flow {number}", "actions": steps}))


@asynccontextmanager
async def serving_with(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    async with hosted(app) as url:
        yield url
