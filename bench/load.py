"""Closed-loop HTTP load from a process of its own: each connection sends its next request when the answer is there.

Its client knows no more of HTTP than our servers need, because the generator shares two cores with the server that it
measures: about 15 µs a request, where aiohttp's client takes 150.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

_GRACE_S = 10.0  # for the answers that are under way when time is up


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: `requests` in turn, until `seconds` are over or, where given, `count` requests are answered."""

    port: int
    connections: int
    seconds: float
    requests: list[str]  # whole HTTP requests; in JSON on their way to the process, hence text
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back. Latencies in milliseconds, of all answers."""

    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def accepted(self) -> int:
        return self.statuses.get("202", 0)

    @property
    def rate(self) -> float:
        """Answers 202 per second."""
        return self.accepted / self.seconds


def webhook(host: str, org_slug: str, api_key: str, body: bytes) -> str:
    """One webhook as Klaviyo sends it."""
    return (
        f"POST /api/generate/{org_slug} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"X-Api-Key: {api_key}\r\nX-Klaviyo-Flow-ID: Xy12Ab\r\nUser-Agent: Klaviyo/1.0\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body.decode()}"
    )


def run(load: Load) -> Outcome:
    """Run the load in a process of its own and wait for it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(load), file)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "bench.load", file.name],
            capture_output=True,
            check=False,
            text=True,
            timeout=load.seconds + _GRACE_S + 30,
        )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-500:]}")
    return Outcome(**json.loads(done.stdout))


class _Run:
    """The state that all connections share."""

    def __init__(self, load: Load) -> None:
        self._requests = [request.encode() for request in load.requests]
        self._left = load.count if load.count is not None else sys.maxsize
        self._sent = 0
        self._under_way = 0
        self.ends = time.perf_counter() + load.seconds
        self.last = self.started = time.perf_counter()
        self.statuses: Counter[str] = Counter()
        self.waits: list[float] = []
        self.done = asyncio.get_running_loop().create_future()

    def next(self, now: float) -> bytes | None:
        if self._left <= 0 or now >= self.ends:
            return None
        self._left -= 1
        self._under_way += 1
        self._sent += 1
        return self._requests[self._sent % len(self._requests)]

    def answered(self, status: str, wait_s: float, now: float) -> None:
        self.statuses[status] += 1
        self.waits.append(wait_s)
        self._under_way -= 1
        self.last = now

    def idle(self) -> None:
        if not self._under_way and not self.done.done():
            self.done.set_result(None)

    def outcome(self) -> Outcome:
        waits = sorted(self.waits) or [0.0]
        return Outcome(
            seconds=self.last - self.started,
            statuses=dict(self.statuses),
            p50_ms=waits[len(waits) // 2] * 1000,
            p99_ms=waits[int(len(waits) * 0.99)] * 1000,
            max_ms=waits[-1] * 1000,
        )


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._sent_at = 0.0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, now: float) -> None:
        request = self._run.next(now)
        if request is None:
            self._run.idle()
            return
        self._sent_at = now
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head_end = received.find(b"\r\n\r\n")
        length_at = received.find(b"ontent-") if head_end >= 0 else -1
        while length_at >= 0 and received[length_at : length_at + 15].lower() != b"ontent-length: ":
            length_at = received.find(b"ontent-", length_at + 1)
        if length_at < 0:
            self._received = received
            return
        body_bytes = int(received[length_at + 15 : received.find(b"\r\n", length_at)])
        if len(received) < head_end + 4 + body_bytes:
            self._received = received
            return
        self._received = b""
        now = time.perf_counter()
        self._run.answered(received[9:12].decode(), now - self._sent_at, now)
        self.send(now)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._run.done.done():
            self._run.done.set_exception(error or ConnectionError("the server closed a connection under load"))


async def _main(load: Load) -> Outcome:
    shared = _Run(load)
    loop = asyncio.get_running_loop()
    connections: list[_Connection] = []
    for _ in range(load.connections):
        _, connection = await loop.create_connection(lambda: _Connection(shared), "127.0.0.1", load.port)
        connections.append(connection)
    shared.started = time.perf_counter()
    shared.ends = shared.started + load.seconds
    for connection in connections:
        connection.send(shared.started)
    async with asyncio.timeout(load.seconds + _GRACE_S):
        await shared.done
    return shared.outcome()


def _command(arguments: Sequence[str]) -> None:
    load = Load(**json.loads(Path(arguments[0]).read_text()))
    print(json.dumps(asdict(uvloop.run(_main(load)))))


if __name__ == "__main__":
    _command(sys.argv[1:])
