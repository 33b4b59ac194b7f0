"""Bytes → events and numbered rejects: reads a stream that it is given, in bounded memory whatever is in it.

The kind of file is told by its content, never by its name: Parquet by its first bytes, packing and encoding as `text`
says, JSON by an opening brace or bracket, else CSV, whose delimiter and escaping are the ones under which the header is
understood. Each record becomes an event or a reject; a line of text that cannot be told apart from its neighbours costs
only itself. Records of lines have the number of their first line, those of arrays and tables are counted.
"""

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, cast

import orjson

from services.ingest import arrays
from services.ingest.klaviyo_event import Names, metric_names
from services.ingest.mapping import Columns, Rejected
from services.ingest.objects import MAX_RAW_BYTES as MAX_RAW_BYTES
from services.ingest.objects import Objects
from services.ingest.objects import raw_text as _raw
from services.ingest.parquet import PARQUET, Table, open_table
from services.ingest.records import Event, Piece, Reject, Taken, Unreadable
from services.ingest.text import Limits, OpenedText, open_text

PIECE_ROWS = 5000
MAX_ROW_CHARS = 1 << 20
MAX_ROW_LINES = 1000
QUICK_FROM_BYTES = 1 << 16
"""Smaller files are read row by row: whoever has only those never loads what the quick reader needs."""
_BOMS = {"utf-8": 0, "utf-8-sig": 3}  # encodings of which the quick reader reads bytes, and how many come before
_FEW_EMPTY_LINES, _EMPTY_LINES_PER_RECORD = 100_000, 10  # more than both together cost time and say nothing
_SAMPLE_LINES = 200
_MAX_LINE = 2**31 - 1  # what the database's line column holds
_HOPELESS = 20_000  # so many rejects, and more than events: the rest would not change the verdict

_DELIMITERS = (",", ";", "\t", "|")

# A limit of the whole process; ours is the smaller one, held by _Records.
csv.field_size_limit(MAX_ROW_CHARS + 1)

_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read one file: the source's saved mapping, the present moment, the limits. `accepted`: to its end,
    however many of its rows are no events."""

    saved: Mapping[str, str]
    now: datetime
    limits: Limits = _LIMITS
    accepted: bool = False


class _Dialect(NamedTuple):
    delimiter: str
    escape: str | None


ReadLine = Callable[[int], str]
"""The next line, or so many characters of it; empty at the end."""


def read_pieces(
    stream: BinaryIO, size_bytes: int, reading: Reading, *, quick_from_bytes: int = QUICK_FROM_BYTES
) -> Iterator[Piece]:
    """The file in bounded pieces. Raises Unreadable when the file as a whole makes no sense."""
    events: list[Event] = []
    rejects: list[Reject] = []
    n_events = n_rejects = 0
    for result in _read(stream, size_bytes, reading, quick=size_bytes >= quick_from_bytes):
        if type(result) is Taken:
            n_events += result.told
            yield Piece([], [], result.copied, result.told)
            continue
        (rejects if type(result) is Reject else events).append(result)  # type: ignore[arg-type]  # told by its type
        if result.line > _MAX_LINE:  # type: ignore[union-attr]  # the same
            raise Unreadable("more than two thousand million lines", reason="too_large_unpacked")
        if len(events) + len(rejects) >= PIECE_ROWS:
            n_events, n_rejects = n_events + len(events), n_rejects + len(rejects)
            yield Piece(events, rejects)
            events, rejects = [], []
            if n_rejects > max(n_events, _HOPELESS) and not reading.accepted:
                return
    if events or rejects:
        yield Piece(events, rejects)


class Text(Protocol):
    """A text that is read once."""

    def read(self, most: int, /) -> str: ...
    def readline(self, most: int, /) -> str: ...


Kind = Literal["", "JSON lines", "JSON array", "JSON pages", "CSV"]


def _read(
    stream: BinaryIO, size_bytes: int, reading: Reading, *, quick: bool
) -> "Iterator[Event | Reject | Taken]":  # fmt: skip
    stream.seek(0)
    if stream.read(len(PARQUET)) == PARQUET:
        return _read_parquet(stream, size_bytes, reading)
    open_again = partial(open_text, stream, size_bytes, reading.limits)
    opened = open_again()
    kind = kind_of(opened.head)
    if quick and opened.encoding in _BOMS and kind == "CSV":
        dialect = _dialect_of(opened.head, reading)
        if dialect.escape is None:
            return _read_quickly(opened, dialect, reading)
    names: dict[str, str] = {}
    if kind == "JSON pages":  # which explain their metrics after the events
        names = metric_names(arrays.elements(opened.text.read, MAX_ROW_CHARS))
        opened = open_again()
    return read_text(opened.text, opened.head, reading, names)


def _read_quickly(opened: OpenedText, dialect: _Dialect, reading: Reading) -> "Iterator[Event | Reject | Taken]":
    from services.ingest.plain import read_plain  # arrow and numpy, only where there is much to read

    def columns_of(header: str) -> Columns | None:
        names = _header([header], dialect)
        return Columns(names, reading.saved, reading.now) if names else None

    def by_row(readline: ReadLine, columns: Columns | None, number: int) -> Iterator[Event | Reject]:
        return _read_csv(readline, dialect, reading, columns, number)

    stream = cast(BinaryIO, opened.text.detach())  # the reader that `text` put there
    stream.read(_BOMS[opened.encoding])
    return read_plain(stream, dialect.delimiter, MAX_ROW_CHARS, columns_of, by_row)


def kind_of(head: str) -> Kind:
    """What kind of text it is; empty where nothing is in it."""
    match head.lstrip()[:1]:
        case "":
            return ""
        case "{":
            return "JSON pages" if arrays.is_page(head) else "JSON lines"
        case "[":
            return "JSON array"
        case _:
            return "CSV"


def read_text(text: Text, head: str, reading: Reading, names: Names) -> Iterator[Event | Reject]:
    """Its records, from all of it and its first part. Raises Unreadable."""
    match kind_of(head):
        case "":
            return iter(())
        case "JSON lines":
            return _read_json_lines(text.readline, Objects(reading.saved, reading.now, names))
        case "JSON array" | "JSON pages":
            return _read_elements(text, Objects(reading.saved, reading.now, names))
        case "CSV":
            return _read_csv(text.readline, _dialect_of(head, reading), reading)


# --- CSV


class _TooLong(Exception):
    """No record is this long: a quote that never closes, or no text at all."""


class _Cut(str):
    """The first part of a line that is too long; the rest was skipped."""

    __slots__ = ()


class _Lines:
    """The physical lines of a record, handed to csv.reader one at a time and remembered until the record is whole."""

    def __init__(self, readline: ReadLine, number: int = 1) -> None:
        self._readline = readline
        self._waiting: deque[str] = deque()
        self._chars = 0
        self.pulled: list[str] = []
        self.number = self._first = number  # of the first line pulled
        self._empty = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._next_line()
        if not line:
            raise StopIteration
        self.pulled.append(line)
        self._chars += len(line)
        if self._chars > MAX_ROW_CHARS or len(self.pulled) > MAX_ROW_LINES or type(line) is _Cut:
            raise _TooLong
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


def _rows(lines: _Lines, dialect: _Dialect) -> Iterator[list[str] | Reject]:
    """Each record, or the line that is none. Whoever takes a record calls lines.done()."""
    reader = _reader(lines, dialect)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            reason = "the quoting is broken" if isinstance(error, csv.Error) else "too long, or a quote never closes"
            number = lines.number
            yield Reject(number, reason, _raw([lines.give_back()]))
            reader = _reader(lines, dialect)


def _reader(lines: Iterator[str], dialect: _Dialect) -> "Iterator[list[str]]":
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        escapechar=dialect.escape,
        doublequote=True,
        strict=True,  # else a stray quote silently swallows the rows that follow
    )


def _read_csv(
    readline: ReadLine, dialect: _Dialect, reading: Reading, columns: Columns | None = None, number: int = 1
) -> Iterator[Event | Reject]:
    """With columns: records from the line of this number on; else the first one is the header."""
    lines = _Lines(readline, number)
    for row in _rows(lines, dialect):
        if type(row) is Reject:
            if columns is None:
                raise Unreadable(f"the header cannot be read: {row.reason}", reason="unknown_layout")
            yield row
            continue
        assert isinstance(row, list)  # noqa: S101  # for the type checker
        if any(row) if len(row) < 2 else True:  # an empty line is no record
            if columns is None:
                columns = Columns(row, reading.saved, reading.now)
            else:
                yield _event_or_reject(columns, row, lines)
        else:
            lines.skip()
        lines.done()


def _event_or_reject(columns: Columns, row: Sequence[Any], lines: _Lines) -> Event | Reject:
    try:
        return columns.read(row, lines.number)
    except Rejected as rejected:
        return Reject(lines.number, str(rejected), _raw(lines.pulled))


def _dialect_of(head: str, reading: Reading) -> _Dialect:
    """The delimiter under which the header says where the fields are, and whether `\\` escapes. Raises Unreadable
    with what the header says."""
    sample = _sample(head)
    problems: list[tuple[int, Unreadable]] = []
    for delimiter in _DELIMITERS:
        names = _header(sample, _Dialect(delimiter, None))
        try:
            Columns(names, reading.saved, reading.now)
        except Unreadable as problem:
            problems.append((len(names), problem))
            continue
        choices = [_Dialect(delimiter, escape) for escape in ((None, "\\") if '\\"' in head else (None,))]
        return min(choices, key=lambda dialect: _faults(head, dialect, reading))
    raise max(problems, key=lambda found: found[0])[1]  # what the most likely delimiter found


def header_of(head: str, reading: Reading) -> tuple[list[str], str]:
    """The names of the columns and the delimiter: under which the header is understood, else the likeliest."""
    try:
        delimiters: tuple[str, ...] = (_dialect_of(head, reading).delimiter,)
    except Unreadable:
        delimiters = _DELIMITERS
    sample = _sample(head)
    headers = [(_header(sample, _Dialect(delimiter, None)), delimiter) for delimiter in delimiters]
    return max(headers, key=lambda found: len(found[0]))


def _sample(head: str) -> list[str]:
    return list(islice(io.StringIO(head, newline=""), _SAMPLE_LINES))


def _header(sample: Sequence[str], dialect: _Dialect) -> list[str]:
    try:
        return next((row for row in _reader(iter(sample), dialect) if any(row)), [])
    except csv.Error:
        return []


def _faults(head: str, dialect: _Dialect, reading: Reading) -> int:
    """How many records of the sample are no events; its last line may be cut and does not count."""
    whole = head[: max(head.rfind("\n"), head.rfind("\r")) + 1] or head
    readline = io.StringIO(whole, newline="").readline
    return sum(type(result) is Reject for result in _read_csv(readline, dialect, reading))


# --- JSON


def _read_json_lines(readline: ReadLine, objects: Objects) -> Iterator[Event | Reject]:
    lines = _Lines(readline)
    while True:
        try:
            line = next(lines)
        except StopIteration:
            return
        except _TooLong:
            yield Reject(lines.number, "too long", _raw(lines.pulled))
            lines.done()
            continue
        if line.isspace():
            lines.skip()
        else:
            yield objects.read(line, lines.number, lines.pulled)
        lines.done()


def _read_elements(text: Text, objects: Objects) -> Iterator[Event | Reject]:
    found = (element for element in arrays.elements(text.read, MAX_ROW_CHARS) if element.part == "data")
    for number, element in enumerate(found, 1):
        if element.whole:
            yield objects.read(element.text, number, [element.text])
        else:
            yield Reject(number, "too long", _raw([element.text]))


# --- Parquet


def _read_parquet(stream: BinaryIO, size_bytes: int, reading: Reading) -> Iterator[Event | Reject]:
    with open_table(stream, size_bytes, reading.limits) as table:
        yield from read_table(table, reading)


def check_table(names: Sequence[str], reading: Reading) -> Iterator[Event | Reject]:
    """No row, but Unreadable if these columns do not tell where the fields are."""
    if not _is_klaviyo_table(names):
        Columns(names, reading.saved, reading.now)
    return iter(())


def _is_klaviyo_table(names: Sequence[str]) -> bool:
    return {"type", "attributes"} <= set(names)


def read_table(table: Table, reading: Reading) -> Iterator[Event | Reject]:
    """Its rows; only the columns that say something to us are read. Raises Unreadable."""
    if _is_klaviyo_table(table.names):
        yield from _read_klaviyo_table(table, Objects(reading.saved, reading.now, {}))
        return
    columns = Columns(table.names, reading.saved, reading.now)
    wanted = sorted(set(columns.at.values()))
    values: list[Any] = [None] * len(table.names)
    for number, row in enumerate(table.rows(wanted), 1):
        if isinstance(row, str):
            yield Reject(number, row, "")
            continue
        for index, value in zip(wanted, row, strict=True):
            values[index] = value
        try:
            yield columns.read(values, number)
        except Rejected as rejected:
            yield Reject(number, str(rejected), _raw([_shown(table, wanted, row)]))


def _read_klaviyo_table(table: Table, objects: Objects) -> Iterator[Event | Reject]:
    """The columns are the members of Klaviyo's own event objects."""
    wanted = [index for index, name in enumerate(table.names) if name in ("type", "id", "attributes", "relationships")]
    for number, row in enumerate(table.rows(wanted), 1):
        if isinstance(row, str):
            yield Reject(number, row, "")
        else:
            found = {table.names[index]: value for index, value in zip(wanted, row, strict=True)}
            yield objects.take(found, number, [_shown(table, wanted, row)])


def _shown(table: Table, wanted: Sequence[int], row: Sequence[Any]) -> str:
    told = {table.names[index]: value for index, value in zip(wanted, row, strict=True)}
    return orjson.dumps(told).decode()
