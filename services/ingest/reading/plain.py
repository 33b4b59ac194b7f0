"""CSV that is beyond doubt, in blocks of many rows.

A block is *plain* when it is provably made of one record a line: every quote opens a value or closes it (or is one of
two), no line ends within quotes, none is empty, no carriage return stands alone. Every reader of CSV splits such a
block alike, so a quick one may (`quick`), and its rows have the numbers of their lines. A block that is not plain goes
to the row-by-row reader, and so does, from the first one on whose end may lie within quotes, all that follows.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, BinaryIO, Literal

import numpy as np

from services.ingest.reading.mapping import Columns
from services.ingest.reading.quick import PlainReader
from services.ingest.records import Event, Reject, Taken

Judged = Literal["plain", "whole", "open"]
"""plain: one record a line. whole: not that, but a record ends where the block does. open: it may not."""

ByRow = Callable[[Callable[[int], str], Columns | None, int], Iterator[Event | Reject]]
"""The row-by-row reader: of lines, with these columns (None: the first record is the header), from this number on."""

BLOCK_BYTES = 2 << 20  # of twice as many rows each costs a sixth less
_MOST_QUOTED_ENDS = 500  # of lines in one block: records of more lines are cut by the row-by-row reader
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


def read_plain(
    stream: BinaryIO, delimiter: str, longest: int, columns_of: Callable[[str], Columns | None], by_row: ByRow
) -> Iterator[Event | Reject | Taken]:
    """Block by block as long as each begins a record. `longest`: bytes that a row may have. `columns_of` is told the
    header's line."""
    parts = blocks(stream.read, BLOCK_BYTES, longest)
    first = next(parts, b"")
    header = first[: first.find(b"\n") + 1]
    plain = header and judge(header, delimiter, longest) == "plain"
    columns = columns_of(header.decode("utf-8", "replace")) if plain else None
    quick = PlainReader.of(columns, delimiter) if columns else None
    if columns is None or quick is None:
        yield from by_row(_text_of(chain([first], parts)).readline, None, 1)
        return
    number = 2
    for block in chain([first[len(header) :]], parts):
        judged = judge(block, delimiter, longest)
        if judged == "open":
            yield from by_row(_text_of(chain([block], parts)).readline, columns, number)
            return
        taken = quick.read(block, number) if judged == "plain" and block else None
        if taken is None:
            yield from by_row(_text_of([block]).readline, columns, number)
        elif taken.told or taken.doubtful:
            yield taken
            for row, line in _lines(block, taken.doubtful):
                yield from by_row(_text_of([line]).readline, columns, number + row)
        number += block.count(b"\n")


def _lines(block: bytes, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    lines = block.splitlines(keepends=True) if rows else []
    return ((row, lines[row]) for row in rows)


def judge(block: bytes, delimiter: str, longest: int) -> Judged:
    """Of a block that begins where a record does, ends with a line, and may be the end of the file."""
    data = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    ends = np.flatnonzero(data == _NEWLINE)
    if len(quotes) % 2:
        return "open"
    # A quote at the very start follows the line before, one at the very end closes the file.
    before = np.where(quotes[::2] > 0, data[quotes[::2] - 1], _NEWLINE)
    after = data[np.minimum(quotes[1::2] + 1, len(data) - 1)]
    neighbours = np.zeros(256, np.bool_)
    neighbours[[_QUOTE, _NEWLINE, ord(delimiter)]] = True
    opens = neighbours[before].all()
    neighbours[_RETURN] = True
    if not opens or not neighbours[after].all():
        return "open"
    # Between an odd and the next even quote all is quoted: before the end of a record their number is even.
    ended = np.searchsorted(quotes, ends) % 2 == 0
    lengths = np.diff(ends[ended], prepend=-1)
    tail = len(data) - 1 - (ends[ended][-1] if ended.any() else -1)
    if max(lengths.max(initial=0), tail) > longest or len(ended) - ended.sum() > _MOST_QUOTED_ENDS:
        return "open"
    returns = np.flatnonzero(data == _RETURN)
    if len(returns) and not (data[np.minimum(returns + 1, len(data) - 1)] == _NEWLINE).all():
        return "open"  # a line ends there for some readers, and a record with it
    shortest = 3 if len(returns) else 2  # of a line with anything in it
    plain = ended.all() and lengths.min(initial=shortest) >= shortest and b"\0" not in block
    return "plain" if plain else "whole"


def blocks(take: Callable[[int], bytes], block_bytes: int, longest: int) -> Iterator[bytes]:
    """The stream in blocks that end with a line, but for its end, and but for a line longer than `longest` bytes."""
    left = b""
    while data := take(block_bytes):
        cut = data.rfind(b"\n") + 1
        left, data = (data[cut:], left + data[:cut]) if cut else (left + data, b"")
        if len(left) > longest:
            left, data = b"", data + left
        if data:
            yield data
    if left:
        yield left


def _text_of(parts: Iterable[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedReader(_Joined(parts)), "utf-8", errors="replace", newline="")


class _Joined(io.RawIOBase):
    """Parts read as one stream."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts, self._part = iter(parts), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._part:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._part = memoryview(part)
        size = min(len(buffer), len(self._part))
        buffer[:size] = self._part[:size]
        self._part = self._part[size:]
        return size
