"""Bytes → events and numbered rejects: reads a stream that it is given, in bounded memory whatever is in it.

The kind of file is told by its content, never by its name: Parquet by its first bytes, packing and encoding as `text`
says, JSON by an opening brace or bracket, else CSV, whose delimiter and escaping are the ones under which the header is
understood. Each record becomes an event or a reject; a line of text that cannot be told apart from its neighbours costs
only itself. Records of lines have the number of their first line, those of arrays and tables are counted.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO, Literal, Protocol, cast

import orjson

from services.ingest.reading import arrays
from services.ingest.reading.delimited import Dialect, dialect_of, header_in, read_csv
from services.ingest.reading.klaviyo_event import Names, metric_names
from services.ingest.reading.lines import MAX_ROW_CHARS, Lines, ReadLine, TooLong
from services.ingest.reading.mapping import Columns
from services.ingest.reading.objects import Objects, raw_text
from services.ingest.reading.parquet import PARQUET, Table, open_table
from services.ingest.reading.reading import Reading
from services.ingest.reading.text import OpenedText, open_text
from services.ingest.reading.values import Rejected
from services.ingest.records import Event, Piece, Reject, Taken, Unreadable

PIECE_ROWS = 5000
QUICK_FROM_BYTES = 1 << 16
"""Smaller files are read row by row: whoever has only those never loads what the quick reader needs."""
_BOMS = {"utf-8": 0, "utf-8-sig": 3}  # encodings of which the quick reader reads bytes, and how many come before
_MAX_LINE = 2**31 - 1  # what the database's line column holds
_HOPELESS = 20_000  # so many rejects, more than events, and not forgiven: a file that is held need not be read on


def read_pieces(
    stream: BinaryIO, size_bytes: int, reading: Reading, *, quick_from_bytes: int = QUICK_FROM_BYTES
) -> Iterator[Piece]:
    """The file in bounded pieces; to its end, unless what came is not forgiven. Raises Unreadable when the file as a
    whole makes no sense."""
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
            if n_rejects > max(n_events, _HOPELESS) and not reading.forgives(n_rejects, n_events + n_rejects):
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
        dialect = dialect_of(opened.head, reading)
        if dialect.escape is None:
            return _read_quickly(opened, dialect, reading)
    names: dict[str, str] = {}
    if kind == "JSON pages":  # which explain their metrics after the events
        names = metric_names(arrays.elements(opened.text.read, MAX_ROW_CHARS))
        opened = open_again()
    return read_text(opened.text, opened.head, reading, names)


def _read_quickly(opened: OpenedText, dialect: Dialect, reading: Reading) -> "Iterator[Event | Reject | Taken]":
    from services.ingest.reading.plain import read_plain  # arrow and numpy, only where there is much to read

    def columns_of(header: str) -> Columns | None:
        names = header_in([header], dialect)
        return reading.columns(names) if names else None

    def by_row(readline: ReadLine, columns: Columns | None, number: int) -> Iterator[Event | Reject]:
        return read_csv(readline, dialect, reading, columns, number)

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
            return _read_nothing(text)
        case "JSON lines":
            return _read_json_lines(text.readline, reading.objects(names))
        case "JSON array" | "JSON pages":
            return _read_elements(text, reading.objects(names))
        case "CSV":
            return read_csv(text.readline, dialect_of(head, reading), reading)


def _read_nothing(text: Text) -> Iterator[Event | Reject]:
    """No record. Raises Unreadable where the file only begins with nothing: what follows would be left out in
    silence."""
    while part := text.read(MAX_ROW_CHARS):
        if part.strip():
            raise Unreadable("nothing but blanks where the file begins, and then more", reason="unknown_layout")
    return iter(())


# --- JSON


def _read_json_lines(readline: ReadLine, objects: Objects) -> Iterator[Event | Reject]:
    lines = Lines(readline)
    while True:
        try:
            line = next(lines)
        except StopIteration:
            return
        except TooLong:
            yield Reject(lines.number, "too long", raw_text(lines.pulled))
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
            yield Reject(number, "too long", raw_text([element.text]))


# --- Parquet


def _read_parquet(stream: BinaryIO, size_bytes: int, reading: Reading) -> Iterator[Event | Reject]:
    with open_table(stream, size_bytes, reading.limits) as table:
        yield from read_table(table, reading)


def check_table(names: Sequence[str], reading: Reading) -> Iterator[Event | Reject]:
    """No row, but Unreadable if these columns do not tell where the fields are."""
    if not _is_klaviyo_table(names):
        reading.columns(names)
    return iter(())


def _is_klaviyo_table(names: Sequence[str]) -> bool:
    return {"type", "attributes"} <= set(names)


def read_table(table: Table, reading: Reading) -> Iterator[Event | Reject]:
    """Its rows; only the columns that say something to us are read. Raises Unreadable."""
    if _is_klaviyo_table(table.names):
        yield from _read_klaviyo_table(table, reading.objects({}))
        return
    columns = reading.columns(table.names)
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
            yield Reject(number, str(rejected), raw_text([_shown(table, wanted, row)]))


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
