"""PostgreSQL's COPY, by column: the quickest way out of it, for nothing is made of a field that nobody asks for.

asyncpg hands over what came, in PostgreSQL's binary form, and reads no further while nobody takes it. A field is its
bytes: a text in UTF-8, a number in network order, a moment in microseconds since 2000.
"""

import asyncio
from contextlib import suppress
from struct import Struct
from types import TracebackType
from typing import Any, Self

import asyncpg
import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types

from shared.db.pool import Connection

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)  # no flags, nothing added
_END, _END_OF_ROWS = 0xFF, b"\xff\xff"  # a row begins with how many fields it has; the last one has -1
_BEGIN_BYTES = 6
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


class Fields:
    """What `CopyOut` fetched, by fields: where each of them lies. They are copied out a column at a time."""

    def __init__(self, sent: bytes, width: int) -> None:
        """`width`: fields of a row."""
        self._sent, self._width = sent, width
        found = _at_once(sent, width) if sent and sent[0] != _END else None
        self._bounds, self._absent = found or _one_by_one(sent, width)

    def __len__(self) -> int:
        return len(self._bounds)

    def texts(self, number: int) -> pa.StringArray:
        """A column of texts."""
        if not len(self):
            return pa.array([], pa.string())
        # Fields and what lies between them, taken for one text after the other; every second one is a field.
        count = self._bounds.size - 1
        all_ = pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(self._bounds), pa.py_buffer(self._sent)])
        return all_.take(pa.array(np.arange(2 * number, count, 2 * self._width), mask=self._absent[:, number]))

    def absent(self, number: int) -> npt.NDArray[np.bool_]:
        """Which rows have nothing in a column."""
        return self._absent[:, number]

    def numbers(self, number: int, kind: str) -> npt.NDArray[Any]:
        """A column of numbers, all as wide as numpy's `kind`; 0 for what is absent."""
        found = np.zeros(len(self), np.dtype(kind).newbyteorder("="))
        present = ~self._absent[:, number]
        if present.any():
            found[present] = _unaligned(self._sent, kind)[self._bounds[present, 2 * number]]
        return found

    def bytes_of(self, number: int) -> list[bytes | None]:
        """A column as it is."""
        bounds, absent, sent = self._bounds[:, 2 * number : 2 * number + 2], self._absent[:, number], self._sent
        found: list[bytes | None] = [sent[start:end] for start, end in bounds.tolist()]
        for row in np.flatnonzero(absent):
            found[row] = None
        return found


_Bounds = tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]
"""Of each row: where its fields begin and end, by turns; which of them are absent."""


def _at_once(sent: bytes, width: int) -> _Bounds | None:
    """Rows that begin alike, with the number of their fields and the length of the first one, are found by that and
    taken apart together. None unless each then ends where the next one begins."""
    end = len(sent) - 2 if sent.endswith(_END_OF_ROWS) else len(sent)
    begin, starts, at = sent[:_BEGIN_BYTES], list[int](), 0
    while at >= 0:
        starts.append(at)
        at = sent.find(begin, at + _BEGIN_BYTES, end)
    begins, lengths = np.array(starts), _unaligned(sent, ">i4")
    bounds, absent = np.empty((len(starts), 2 * width), np.int32), np.empty((len(starts), width), np.bool_)
    place = begins + 2
    for number in range(width):
        length = lengths[np.minimum(place, len(lengths) - 1)].astype(np.int64)  # where all is well, within anyway
        absent[:, number] = length < 0
        bounds[:, 2 * number] = place + 4
        place = place + 4 + np.maximum(length, 0)
        bounds[:, 2 * number + 1] = np.minimum(place, end)
    return (bounds, absent) if place[-1] == end and np.array_equal(place[:-1], begins[1:]) else None


def _one_by_one(sent: bytes, width: int) -> _Bounds:
    bounds, absent = list[int](), list[bool]()
    unpack, at, end = Struct(">i").unpack_from, 0, len(sent)
    while at < end and sent[at] != _END:
        at += 2
        for _ in range(width):
            (size,) = unpack(sent, at)
            bounds += (at + 4, at + 4 + max(size, 0))
            absent.append(size < 0)
            at = bounds[-1]
    return np.array(bounds, np.int32).reshape(-1, 2 * width), np.array(absent, np.bool_).reshape(-1, width)


def _unaligned(sent: bytes, kind: str) -> npt.NDArray[Any]:
    """The number that begins at each byte."""
    return np.ndarray((len(sent) - np.dtype(kind).itemsize + 1,), kind, sent, 0, (1,))
