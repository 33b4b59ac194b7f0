"""What stands before two gateways: takes each request to one that lets it connect, and remembers every answer.

It is as simple as the least careful load balancer: a refused connection leads to the next gateway; whatever happens
once a request has begun is passed on as it is, for a POST may not be sent twice.
"""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

_PASSED_ON = ("Content-Type", "X-Api-Key", "User-Agent")


@dataclass
class Balancer:
    """`answers`: how many of each status callers got; `turned`: requests that a gateway refused to take."""

    url: str = ""
    gateways: Sequence[str] = ()
    answers: Counter[int] = field(default_factory=Counter)
    turned: int = 0
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    async def answer(self, http: aiohttp.ClientSession, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        first = next(self._turn)
        for number in range(len(self.gateways)):
            url = self.gateways[(first + number) % len(self.gateways)] + request.path_qs
            try:
                async with http.request(request.method, url, data=body, headers=headers) as answer:
                    text = await answer.read()
                    self.answers[answer.status] += 1
                    return web.Response(status=answer.status, body=text, content_type=answer.content_type)
            except aiohttp.ClientConnectorError:
                self.turned += 1
            except (aiohttp.ClientError, TimeoutError):
                break
        self.answers[502] += 1
        return web.Response(status=502)


@asynccontextmanager
async def balancing() -> AsyncIterator[Balancer]:
    """On a free port; `gateways` are named before the first request comes."""
    balancer = Balancer()
    connector = aiohttp.TCPConnector(force_close=True)  # a kept connection would end with its gateway
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as http:

        async def handle(request: web.BaseRequest) -> web.Response:
            return await balancer.answer(http, request)

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        balancer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield balancer
        finally:
            await runner.cleanup()
