"""PostgreSQL's COPY, by column: the quickest way out of it, for nothing is made of a field that nobody asks for.

asyncpg hands over what came, in PostgreSQL's binary form, and reads no further while nobody takes it. A field is its
bytes: a text in UTF-8, a number in network order, a moment in microseconds since 2000.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from struct import Struct
from types import TracebackType
from typing import Any, Self

import asyncpg

from services.egress.model import Field
from shared.db.pool import Connection

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)  # no flags, nothing added
_END = 0xFF  # a row begins with how many fields it has; the last one has -1
_AHEAD = 2  # pieces that may wait here; more wait with PostgreSQL
_END_OF_PIECES = b""


class CopyOut:
    """The answer to one statement, in pieces of whole rows. A context; leaving it early ends the statement, and the
    connection with it: asyncpg (0.32) takes the next piece for the end of a COPY that it cancelled."""

    def __init__(self, connection: Connection, statement: str, *values: Any, timeout_s: float) -> None:
        self._connection, self._statement, self._values, self._timeout_s = connection, statement, values, timeout_s
        self._pieces = asyncio.Queue[bytes](_AHEAD)
        self._error: Exception | None = None
        self._at_start, self._at_end, self._through = True, False, False

    async def __aenter__(self) -> Self:
        self._copying = asyncio.create_task(self._copy())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._copying.cancel()
        await asyncio.wait({self._copying})
        if not self._through:
            with suppress(asyncpg.InterfaceError):  # it was lost already
                self._connection.terminate()

    async def _copy(self) -> None:
        try:
            await self._connection.copy_from_query(
                self._statement, *self._values, output=self._pieces.put, format="binary", timeout=self._timeout_s
            )
        except Exception as error:  # noqa: BLE001  # raised by `fetch`, where somebody waits for rows
            self._error = error
        self._through = True
        await self._pieces.put(_END_OF_PIECES)

    async def fetch(self, least: int, silence_s: float) -> bytes:
        """Rows of `least` bytes or more, if there are so many; empty at the end. Raises TimeoutError when nothing comes
        for `silence_s` (real), and whatever asyncpg raises."""
        pieces, size = list[bytes](), 0
        while size < least and not self._at_end:
            async with asyncio.timeout(silence_s):
                piece = await self._pieces.get()
            if not piece:
                self._at_end = True
                if self._error is not None:
                    raise self._error
            pieces.append(piece)
            size += len(piece)
        rows = b"".join(pieces)
        if self._at_start and rows:
            if not rows.startswith(_HEADER):
                raise ValueError("this is not PostgreSQL's binary COPY")
            rows, self._at_start = rows[len(_HEADER) :], False
        return rows


def columns_of(rows: bytes, width: int) -> Sequence[Sequence[Field]]:
    """What `CopyOut` fetched, taken apart; `width`: fields of a row."""
    fields, add = (found := list[Field]()), found.append
    unpack, at, end = Struct(">i").unpack_from, 0, len(rows)
    while at < end and rows[at] != _END:
        at += 2
        for _ in range(width):
            start = at + 4
            (size,) = unpack(rows, at)
            if size < 0:
                add(None)
                at = start
            else:
                at = start + size
                add(rows[start:at])
    return [fields[number::width] for number in range(width)]
