"""A network link in front of a server, which a test can cut, freeze or make long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from devstack.ports import LOOPBACK

_CHUNK_BYTES = 65_536
_CHUNKS_ON_THE_WAY = 1_024
_OnTheWay = asyncio.Queue[tuple[float, bytes]]
"""When it arrives, by the loop's clock; no bytes: nothing more comes."""


class Link:
    """Forwards TCP to one address. Whole at first."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._whole = True
        self._delay_s = 0.0

    def cut(self) -> None:
        """Reset what is open and refuse what comes, as a server does that is gone."""
        self._whole = False
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Let nothing through, in neither direction, without a word, as a server does that hangs."""
        self._thawed.clear()

    def lengthen(self, delay_s: float) -> None:
        """Everything takes so long from here on, each way; as much as before is on the way at a time."""
        self._delay_s = delay_s

    def mend(self) -> None:
        """As at first."""
        self._whole, self._delay_s = True, 0.0
        self._thawed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if not self._whole:
                return
            there, back = await asyncio.open_connection(*self._target)
            self._writers.add(back)
            try:
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
            finally:
                self._writers.discard(back)
                back.transport.abort()
        except OSError:
            pass  # one end is gone; the other learns it below
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        on_the_way, loop = _OnTheWay(_CHUNKS_ON_THE_WAY), asyncio.get_running_loop()
        taking = asyncio.create_task(self._take(source, on_the_way))
        try:
            while (came := await on_the_way.get())[1]:
                if (left_s := came[0] - loop.time()) > 0:
                    await asyncio.sleep(left_s)
                await self._thawed.wait()
                sink.write(came[1])
                await sink.drain()
            await taking  # raises what ended it
            sink.close()
        finally:
            taking.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await taking

    async def _take(self, source: asyncio.StreamReader, on_the_way: _OnTheWay) -> None:
        loop = asyncio.get_running_loop()
        try:
            while chunk := await source.read(_CHUNK_BYTES):
                await on_the_way.put((loop.time() + self._delay_s, chunk))
                await self._thawed.wait()  # so that who sends into a frozen line fills the kernel's buffers, not ours
        except OSError:
            await on_the_way.put((0.0, b""))
            raise
        await on_the_way.put((0.0, b""))


@asynccontextmanager
async def link_to(url: str) -> AsyncIterator[tuple[Link, str]]:
    """A link to the server of this URL, and the URL that leads over it."""
    parts = urlsplit(url)
    link = Link(parts.hostname or LOOPBACK, parts.port or 0)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(link._serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    login = parts.netloc.rpartition("@")[0]
    try:
        yield link, parts._replace(netloc=f"{login}@{LOOPBACK}:{port}").geturl()
    finally:
        server.close()
        link.cut()
        for task in list(serving):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
