"""A peer that speaks as much AMQP 0-9-1 as our own client needs, and breaks off or falls silent where a test wants it:
what no broker does on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pamqp.frame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.common import FieldTable

from devstack.ports import LOOPBACK

_PROTOCOL_BYTES, _HEAD_BYTES = 8, 7
_CAPABILITIES: FieldTable = {"publisher_confirms": True, "basic.nack": True, "consumer_cancel_notify": True}
_START = commands.Connection.Start(server_properties={"capabilities": _CAPABILITIES}, mechanisms="PLAIN")
_ANSWERS: dict[str, Any] = {
    "Connection.StartOk": commands.Connection.Tune(channel_max=2047, frame_max=131_072, heartbeat=0),
    "Connection.Open": commands.Connection.OpenOk(),
    "Connection.Close": commands.Connection.CloseOk(),
    "Channel.Open": commands.Channel.OpenOk(),
    "Channel.Close": commands.Channel.CloseOk(),
    "Confirm.Select": commands.Confirm.SelectOk(),
    "Basic.Qos": commands.Basic.QosOk(),
}


class Line:
    """One connection to it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number, self.published = number, 0
        self._reader, self._writer = reader, writer

    def confirm(self, channel: int, up_to: int) -> None:
        """Each of the first ones with a frame of its own."""
        for tag in range(1, up_to + 1):
            self._send(channel, commands.Basic.Ack(delivery_tag=tag))

    def end(self) -> None:
        """Without a word, behind what was said before."""
        self._writer.close()

    async def serve(self, published: Callable[[Line, int], None]) -> None:
        await self._reader.readexactly(_PROTOCOL_BYTES)
        self._send(0, _START)
        while True:
            head = await self._reader.readexactly(_HEAD_BYTES)
            rest = await self._reader.readexactly(int.from_bytes(head[3:]) + 1)
            _, channel, frame = pamqp.frame.unmarshal(head + rest)
            if isinstance(frame, ContentBody):
                self.published += 1
                published(self, channel)
            elif (answer := _ANSWERS.get(frame.name)) is not None:
                self._send(channel, answer)

    def _send(self, channel: int, frame: Any) -> None:
        self._writer.write(pamqp.frame.marshal(frame, channel))


class Peer:
    """`came`: how many connections so far; `here`: those that are still open."""

    def __init__(self, silent: Callable[[int], bool], published: Callable[[Line, int], None]) -> None:
        self._silent, self._published = silent, published
        self.came, self.here = 0, set[Line]()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        line = Line(self.came, reader, writer)
        self.here.add(line)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                if self._silent(line.number):
                    while await reader.read(1024):
                        pass
                else:
                    await line.serve(self._published)
        finally:
            self.here.discard(line)
            writer.close()


@asynccontextmanager
async def listening(
    *, silent: Callable[[int], bool] = lambda _: False, published: Callable[[Line, int], None] = lambda *_: None
) -> AsyncIterator[tuple[Peer, str]]:
    """`silent`: whether it takes the connection of this number, from 1, and says nothing. `published`: told of each
    message of a few bytes, with its channel."""
    peer, serving = Peer(silent, published), set[asyncio.Task[None]]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(peer.take(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(take, LOOPBACK, 0)
    try:
        yield peer, f"amqp://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
