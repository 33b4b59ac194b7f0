"""Everything that leaves a process of ours other than to whom it is meant for, kept to be searched."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import web

from devstack import Endpoints
from devstack.ports import LOOPBACK
from shared.messaging.broker import connect, open_channel

_FIREHOSE = "amq.rabbitmq.trace"


@dataclass
class Collector:
    """In place of an OpenTelemetry collector: what came, unpacked."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a port of its own."""
    collector = Collector()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        packed = request.headers.get("Content-Encoding") == "gzip"
        collector.bodies.append(gzip.decompress(body) if packed and body[:2] == b"\x1f\x8b" else body)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        collector.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()


@asynccontextmanager
async def tapped(endpoints: Endpoints, amqp_url: str) -> AsyncIterator[list[bytes]]:
    """Every message that is published or delivered on this virtual host, by the broker's own tracing."""
    admin, name = urlsplit(endpoints.amqp_management_url), urlsplit(amqp_url).path[1:]
    base = admin._replace(netloc=f"{admin.hostname}:{admin.port}").geturl()
    headers = {"Authorization": aiohttp.encode_basic_auth(admin.username or "", admin.password or "")}
    seen: list[bytes] = []
    async with (
        aiohttp.ClientSession(headers=headers, raise_for_status=True) as http,
        connect(amqp_url, "tap") as connection,
    ):
        await (await http.put(f"{base}/api/vhosts/{name}", json={"tracing": True})).release()
        channel = await open_channel(connection)
        queue = await channel.declare_queue("tap", auto_delete=True)
        await queue.bind(_FIREHOSE, "#")

        async def listen() -> None:
            async with queue.iterator(no_ack=True) as messages:
                async for message in messages:
                    seen.append(message.body)
                    seen.append(repr(message.headers).encode())

        listening = asyncio.create_task(listen())
        try:
            yield seen
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def spelt(secret: str) -> Iterator[bytes]:
    """The ways in which a secret could stand somewhere without anybody having tried to hide it."""
    raw = secret.encode()
    yield raw
    yield secret.replace("\n", "\\n").encode()
    yield raw.hex().encode()
    yield quote(secret, safe="").encode()
    for cut in range(3):  # wherever in a longer text it was encoded
        yield base64.b64encode(raw[cut:])[: len(raw) // 3 * 4 - 4]
        yield base64.urlsafe_b64encode(raw[cut:])[: len(raw) // 3 * 4 - 4]


def found_in(places: dict[str, bytes], secrets: dict[str, str]) -> list[str]:
    """Which secret stands where, by their names alone."""
    return [
        f"{name} in {place}"
        for name, secret in secrets.items()
        for place, content in places.items()
        if any(spelling in content for spelling in set(spelt(secret)))
    ]
