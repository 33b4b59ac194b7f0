"""A customer's S3 server that redirects leads nobody to addresses that customers may not name."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from services.egress.model import Target
from services.egress.s3 import S3, S3Options
from shared import hosts
from shared.errors import Failure
from shared.hosts import Hosts
from shared.s3 import Access, named, open_client

THEIRS, OURS = "127.0.0.2", "127.0.0.1"
"""Loopback is a whole network: the first address stands for the internet, the second for what is inside."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Internet(Hosts):
    async def addresses(self, host: str, port: int) -> list[str]:
        return [THEIRS] if host == "s3.example" else await super().addresses(host, port)


@asynccontextmanager
async def serving(handler: Handler, address: str) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.fixture
async def inside(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, list[str]]]:
    """The endpoint of a customer's server that redirects whoever asks to a server of ours, and what that one was
    asked."""
    asked: list[str] = []

    async def secret(request: web.Request) -> web.StreamResponse:
        asked.append(f"{request.method} {request.path}")
        return web.Response(text="what nobody outside may see", headers={"ETag": '"x"'})

    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(f"http://{OURS}:{ours}/latest/meta-data")

    monkeypatch.setattr(hosts, "is_public", lambda address: address == THEIRS)
    async with serving(secret, OURS) as ours, serving(redirect, THEIRS) as theirs:
        yield f"http://s3.example:{theirs}", asked


async def test_event_files_are_read_from_no_address_that_a_redirect_names(inside: tuple[str, list[str]]) -> None:
    """ASVS 5.0 V15.3.2, with the next one."""
    endpoint, asked = inside
    access = Access("us-east-1", endpoint, "key", "secret")

    async with open_client(access, Internet(), connect_timeout_s=5, read_timeout_s=5, attempts=1) as client:
        with pytest.raises(Failure):
            await named(client.get_object(Bucket="events", Key="a.csv"), 20)

    assert asked == []


async def test_exports_are_written_to_no_address_that_a_redirect_names(inside: tuple[str, list[str]]) -> None:
    endpoint, asked = inside
    options = S3Options(connect_timeout_s=5, read_timeout_s=5, attempts=1, hosts=Internet())

    async with AsyncExitStack() as stack:
        bucket = await S3(options, stack).bucket(Target("records", "", "us-east-1", endpoint, "key", "secret"))
        for call in (bucket.find("x"), bucket.read("x", 100), bucket.sweep("", lambda _: True, 0)):
            with pytest.raises(Failure):
                await call

    assert asked == []


async def test_without_the_walls_the_redirect_would_be_followed(inside: tuple[str, list[str]]) -> None:
    endpoint, asked = inside
    access = Access("us-east-1", endpoint.replace("s3.example", THEIRS), "key", "secret")

    async with open_client(access, Hosts(True), connect_timeout_s=5, read_timeout_s=5, attempts=1) as client:
        await named(client.get_object(Bucket="events", Key="a.csv"), 20)

    assert asked == ["GET /latest/meta-data"]
