"""Lines of text as records take them: one at a time, bounded in length and number."""

from collections import deque
from collections.abc import Callable

from services.ingest.reading.objects import MAX_RAW_BYTES
from services.ingest.records import Unreadable

MAX_ROW_CHARS = 1 << 20
MAX_ROW_LINES = 1000
_FEW_EMPTY_LINES, _EMPTY_LINES_PER_RECORD = 100_000, 10  # more than both together cost time and say nothing

ReadLine = Callable[[int], str]
"""The next line, or so many characters of it; empty at the end."""


class TooLong(Exception):
    """No record is this long: a quote that never closes, or no text at all."""


class _Cut(str):
    """The first part of a line that is too long; the rest was skipped."""

    __slots__ = ()


class Lines:
    """The physical lines of a record, handed to csv.reader one at a time and remembered until the record is whole."""

    def __init__(self, readline: ReadLine, number: int = 1) -> None:
        self._readline = readline
        self._waiting: deque[str] = deque()
        self._chars = 0
        self.pulled: list[str] = []
        self.number = self._first = number  # of the first line pulled
        self._empty = 0

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._next_line()
        if not line:
            raise StopIteration
        self.pulled.append(line)
        self._chars += len(line)
        if self._chars > MAX_ROW_CHARS or len(self.pulled) > MAX_ROW_LINES or type(line) is _Cut:
            raise TooLong
        return line

    def skip(self) -> None:
        """What was pulled is an empty line. Raises Unreadable for a file of nothing else."""
        self._empty += 1
        records = self.number - self._first + 1 - self._empty
        if self._empty > _FEW_EMPTY_LINES + _EMPTY_LINES_PER_RECORD * records:
            raise Unreadable(f"{self._empty} empty lines among {records} others", reason="empty_lines")

    def done(self) -> None:
        """What was pulled has been dealt with."""
        self.number += len(self.pulled)
        self.pulled.clear()
        self._chars = 0

    def give_back(self) -> str:
        """Deal with the first line alone; the others will come again."""
        first = self.pulled[0]
        self._waiting.extendleft(reversed(self.pulled[1:]))
        del self.pulled[1:]
        self.done()
        return first

    def _next_line(self) -> str:
        line = self._readline(MAX_ROW_CHARS + 1)
        if len(line) <= MAX_ROW_CHARS:
            return line
        rest = line
        while rest and rest[-1] not in "\r\n":
            rest = self._readline(MAX_ROW_CHARS)
        return _Cut(line[:MAX_RAW_BYTES])
