"""What comes over a bare socket: requests that no client library sends, and clients that take their time.

ASVS 5.0 V4.2.1: where a request ends is seen as everybody in front of us sees it: nothing is smuggled behind it.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from statistics import median, quantiles

import pytest

from devstack.ports import LOOPBACK
from tests.component.gateway.rig import Rig, webhook
from tests.security.raw_requests import Raw, Writing, all_of
from tests.support.console import Stage, console
from tests.support.measured import say

REFUSED = {400, 401, 403, 404, 405, 408, 413, 414, 415, 422, 431, 501, 505}
CLOSED_WITHIN_S = 10.0
GRACE_S = 1.0  # for a loop that others share
PATIENT_S = 30.0  # beside other tests; what is demanded is held where nothing else runs
NEXT_WITHIN_S = 1.0  # a body that does not come is waited for 5 s
NEXT_ALONE_WITHIN_S = 0.1  # of 99 in 100: the broker waits for its disk now and then
_AT_ONCE = 40
_IDLE = 900


@dataclass(frozen=True)
class Got:
    """What came back, and when the connection was closed."""

    statuses: list[int]
    took_s: float
    closed: bool
    raw: bytes


async def sent(rig: Rig | Stage, data: bytes, *, within_s: float = CLOSED_WITHIN_S, quiet_s: float = 0.5) -> Got:
    """All answers to these bytes, until the server closes, or keeps a connection open that it has answered."""
    began, raw, closed = time.monotonic(), b"", False
    reader, writer = await asyncio.open_connection(LOOPBACK, int(rig.url.rpartition(":")[2]))
    try:
        writer.write(data)
        while not closed and time.monotonic() - began < within_s:
            try:
                async with asyncio.timeout(quiet_s if raw else within_s):
                    part = await reader.read(65_536)
            except TimeoutError:
                break
            closed = not part
            raw += part
    except ConnectionError:
        closed = True
    finally:
        writer.transport.abort()
    return Got(statuses_of(raw), time.monotonic() - began, closed, raw)


def statuses_of(raw: bytes) -> list[int]:
    """Of every answer; what promises to continue is none."""
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3}) ", raw) if one != b"100"]


@asynccontextmanager
async def neighbour(rig: Rig, key: str) -> AsyncIterator[list[float]]:
    """Somebody whose webhooks are fine, all the while; how long each waited for its answer."""
    waits: list[float] = []

    async def go_on() -> None:
        while True:
            began = time.monotonic()
            assert (await rig.post(key, webhook(template_id="neighbour")))[0] == 202
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.02)

    going = asyncio.create_task(go_on())
    try:
        yield waits
    finally:
        assert not going.done()
        going.cancel()
        with suppress(asyncio.CancelledError):
            await going


async def test_nothing_that_is_not_http_is_executed_and_nothing_is_executed_behind_it(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    first, smuggled = webhook(attrs={"it": "is first"}), webhook(template_id="smuggled")
    cases = all_of(Writing(key, first, smuggled))
    turn = asyncio.Semaphore(_AT_ONCE)

    async def tried(case: Raw) -> Got:
        async with turn:
            return await sent(rig, case.sent)

    async with neighbour(rig, key) as waits:
        answers = await asyncio.gather(*map(tried, cases))
    jobs = Counter(job.template_id for job in await rig.queued())

    assert [fault for case, got in zip(cases, answers, strict=True) if (fault := fault_of(case, got))] == []
    assert len(cases) >= 200
    assert jobs.keys() <= {"welcome", "neighbour"}
    assert sum(got.statuses.count(202) for got in answers) >= 10  # those that are HTTP, if a strange one
    assert median(waits) < NEXT_WITHIN_S


def fault_of(case: Raw, got: Got) -> str | None:
    """What is wrong with the answer to a case."""
    said = f"{case.name}: {got.statuses or 'no answer'} after {got.took_s:.1f} s"
    if len(got.statuses) > 1:
        return f"{said}: one request, two answers"
    if got.statuses and not (got.statuses[0] in REFUSED or (case.taken and got.statuses[0] in (202, 200))):
        return said
    if not got.statuses and not got.closed:
        return f"{said}: neither answered nor closed"
    if got.took_s > CLOSED_WITHIN_S:
        return said
    if any(one in got.raw.lower() for one in (b"traceback", b"aiohttp", b"python", b"text/plain")):
        return f"{said}: it says what runs here, or what it stumbled over"
    return None


async def test_requests_sent_in_one_go_are_each_executed_once_and_answered_in_order(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    requests = [Writing(key, webhook(template_id=name), b"").request() for name in ("one", "two", "three")]

    got = await sent(rig, b"".join(requests), quiet_s=5)

    assert got.statuses == [202, 202, 202]
    assert sorted(job.template_id for job in await rig.queued()) == ["one", "three", "two"]


async def test_the_console_says_nothing_of_what_runs_there_to_what_is_no_http(database_url: str) -> None:
    """ASVS 5.0 V13.4.6."""
    async with console(database_url) as stage:
        answers = [
            await sent(stage, data)
            for data in (
                b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
                b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x16\x03\x01\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            )
        ]

    for got in answers:
        assert (got.statuses, got.closed) == ([400], True)
        assert b"Content-Type: application/json" in got.raw
        assert b"Content-Security-Policy: default-src 'none'" in got.raw
        assert not any(one in got.raw.lower() for one in (b"aiohttp", b"python", b"stumbled", b"bytearray"))


@dataclass(frozen=True)
class Line:
    """A connection, and since when there is one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    began: float


async def line(rig: Rig | Stage) -> Line:
    reader, writer = await asyncio.open_connection(LOOPBACK, int(rig.url.rpartition(":")[2]))
    return Line(reader, writer, time.monotonic())


async def held(rig: Rig | Stage, first: bytes, then: bytes = b"", *, answered: bool = False) -> Got:
    """What a client gets that sends the rest a byte at a time, or nothing more."""
    return await held_on(await line(rig), first, then, answered=answered)


async def held_on(on: Line, first: bytes, then: bytes = b"", *, answered: bool = False) -> Got:
    """The same, on a connection that is there. `answered`: until the answer comes, not until it is hung up on."""
    raw = b""

    async def trickle() -> None:
        with suppress(ConnectionError):
            for at in range(len(then)):
                await asyncio.sleep(0.5)
                on.writer.write(then[at : at + 1])
                await on.writer.drain()

    on.writer.write(first)
    trickling = asyncio.create_task(trickle())
    try:
        with suppress(ConnectionError):
            while not (answered and raw) and (part := await on.reader.read(65_536)):
                raw += part
    finally:
        trickling.cancel()
        on.writer.transport.abort()
    return Got(statuses_of(raw), time.monotonic() - on.began, True, raw)


async def test_a_body_that_does_not_come_ends_in_a_503_and_costs_nobody_else_anything(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    whole = Writing(key, webhook(), b"").request()
    head, body = whole[: whole.index(b"\r\n\r\n") + 4], whole[whole.index(b"\r\n\r\n") + 4 :]
    chunked = Writing(key, b"", b"").request(b"Transfer-Encoding: chunked", length=False)

    async with neighbour(rig, key) as waits:
        answers = await asyncio.gather(
            held(rig, head), held(rig, head + body[:-1]), held(rig, head, body), held(rig, chunked + b"f\r\n"),
        )  # fmt: skip

    assert [got.statuses for got in answers] == [[503]] * 4  # a repetition may cure it, so Klaviyo is told to repeat
    assert max(got.took_s for got in answers) < CLOSED_WITHIN_S
    assert median(waits) < NEXT_WITHIN_S
    assert {job.template_id for job in await rig.queued()} == {"neighbour"}


async def test_the_console_waits_neither_for_heads_nor_for_forms(database_url: str) -> None:
    form = b"POST /_sign-in HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 100\r\n"
    form += b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    async with console(database_url) as stage:
        silent, begun, trickled, without, slowly = await asyncio.gather(
            held(stage, b""), held(stage, form[:40]), held(stage, b"", form), held(stage, form, answered=True),
            held(stage, form, b"email=" + b"a" * 94, answered=True),
        )  # fmt: skip

    assert [got.statuses for got in (silent, begun, trickled, without, slowly)] == [[], [], [], [408], [408]]
    assert max(got.took_s for got in (silent, begun, trickled, without, slowly)) < PATIENT_S


@pytest.mark.alone
@pytest.mark.long
async def test_headers_that_do_not_come_and_sockets_that_say_nothing_are_closed_and_keep_nobody_out(rig: Rig) -> None:
    key = await rig.new_key(rig.acme)
    whole = Writing(key, webhook(), b"").request()
    head = whole[: whole.index(b"\r\n\r\n") + 4]

    idle = [await line(rig) for _ in range(_IDLE)]  # before we measure, since the loop that opens them is the gateway's
    holding = asyncio.gather(
        *(held_on(one, b"") for one in idle),
        held(rig, whole[:20]), held(rig, b"", whole), held(rig, whole[:60], b"X-A: b\r\n" * 100),
        held(rig, b"\r\n" * 100), held(rig, b"G"), held(rig, head), held(rig, head, whole[len(head) :]),
    )  # fmt: skip
    assert (await rig.post(key))[0] == 202  # all of them have begun
    async with neighbour(rig, key) as waits:
        answers = await holding
    kept = await held(rig, whole + whole[:20], whole[20:])  # a second request that begins, on a connection that is kept

    slow_s = quantiles(waits, n=100)[-1]
    say(
        closed_s=round(max(got.took_s for got in answers), 1), kept_closed_s=round(kept.took_s, 1), webhooks=len(waits),
        half_ms=round(median(waits) * 1e3, 1), ms_99=round(slow_s * 1e3, 1), slowest_ms=round(max(waits) * 1e3, 1),
    )  # fmt: skip
    assert {tuple(got.statuses) for got in answers} <= {(), (408,), (400,), (503,)}
    assert max(got.took_s for got in answers) < CLOSED_WITHIN_S + GRACE_S
    assert (kept.statuses, kept.took_s < CLOSED_WITHIN_S + GRACE_S) == ([202], True)
    assert slow_s < NEXT_ALONE_WITHIN_S
    assert {job.template_id for job in await rig.queued()} == {"neighbour", "welcome"}
