"""An S3 server that never ends its answer costs the call, not the memory of the process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from services.egress.model import Target
from services.egress.s3 import S3, S3Options
from shared.errors import Transient
from shared.hosts import Hosts
from shared.s3 import ANSWER_BYTES, Access, named, open_client
from tests.support.loopback import hosted

_MOST = 256 << 20  # what the server would send


class Endless:
    url = ""
    sent = 0
    status = 200

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=self.status, headers={"Content-Type": "application/xml"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while self.sent < _MOST:
            await response.write(b"<" + b" " * (1 << 20))
            self.sent += 1 << 20
        return response


@pytest.fixture
async def endless() -> AsyncIterator[Endless]:
    server, app = Endless(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with hosted(app) as server.url:
        yield server


@pytest.mark.parametrize("status", [200, 403])
async def test_a_listing_or_an_error_without_an_end_is_cut_off(endless: Endless, status: int) -> None:
    endless.status = status
    access = Access("us-east-1", endless.url, "key", "secret")

    async with open_client(access, Hosts(True), connect_timeout_s=5, read_timeout_s=30, attempts=1) as client:
        with pytest.raises(Transient):
            await named(client.list_objects_v2(Bucket="events"), 60)

    assert endless.sent < 2 * ANSWER_BYTES + (8 << 20)  # with what lies in sockets


async def test_the_exporters_calls_are_cut_off_too(endless: Endless) -> None:
    options = S3Options(connect_timeout_s=5, read_timeout_s=30, call_timeout_s=60, attempts=1)

    async with AsyncExitStack() as stack:
        bucket = await S3(options, stack).bucket(Target("records", "", "us-east-1", endless.url, "key", "secret"))
        with pytest.raises(Transient):
            await bucket.sweep("", lambda _: True, 0)

    assert endless.sent < 2 * ANSWER_BYTES + (8 << 20)
