"""How long the head of a request is waited for, and that nothing else is hung up on for it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import pytest
from aiohttp import web

from devstack.ports import LOOPBACK
from shared.unreadable import answered_by

HEAD_S = 2.0  # a machine may stand still for a second
PATIENT_S = 30.0
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server that waits HEAD_S for a head, and a minute for the next request."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read())

    made = web.Server(answer, keepalive_timeout=60)
    runner = web.ServerRunner(answered_by(lambda request, status: web.Response(status=status), made, head_s=HEAD_S))
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def until_closed(port: int, *parts: bytes, every_s: float) -> tuple[float, int]:
    """After how long the server hangs up on who sends these, each after a wait; and how many answers came."""
    began, raw = time.monotonic(), b""  # before the server knows of it: its timer may start before this side goes on
    reader, writer = await asyncio.open_connection(LOOPBACK, port)

    async def send() -> None:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(every_s)

    sending = asyncio.create_task(send())
    try:
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENT_S):
                while part := await reader.read(65_536):
                    raw += part
    finally:
        sending.cancel()
        writer.transport.abort()
    return time.monotonic() - began, raw.count(b"HTTP/1.1 200")


async def test_a_head_that_does_not_come_is_hung_up_on_however_it_does_not_come(port: int) -> None:
    soon = partial(until_closed, port, every_s=HEAD_S / 8)

    closed = await asyncio.gather(
        soon(), soon(REQUEST[:10]), soon(*(REQUEST[at : at + 1] for at in range(40))),
        soon(REQUEST, REQUEST[:10]), soon(REQUEST, *(REQUEST[at : at + 1] for at in range(40))),
    )  # fmt: skip

    assert [answers for _, answers in closed] == [0, 0, 0, 1, 1]
    assert all(HEAD_S <= took_s < PATIENT_S for took_s, _ in closed), closed


async def test_idle_connections_and_slow_bodies_are_left_alone(port: int) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    answers = []

    for first, then, after_s in (
        (REQUEST, b"", 0.0), (REQUEST[:-1], REQUEST[-1:], 1.5 * HEAD_S), (REQUEST[:20], REQUEST[20:], HEAD_S / 4),
    ):  # fmt: skip
        writer.write(first)
        await asyncio.sleep(after_s)
        writer.write(then)
        answers.append(await reader.readuntil(b"ab"))
        await asyncio.sleep(1.5 * HEAD_S)  # idle, and kept

    writer.transport.abort()
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 3
