"""CSV, row by row: whatever its delimiter, and however broken its quoting is."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from services.ingest.reading.lines import MAX_ROW_CHARS, Lines, ReadLine, TooLong
from services.ingest.reading.mapping import Columns
from services.ingest.reading.objects import raw_text
from services.ingest.reading.reading import Reading
from services.ingest.reading.values import Rejected
from services.ingest.records import Event, Reject, Unreadable

_SAMPLE_LINES = 200
_DELIMITERS = (",", ";", "\t", "|")

# A limit of the whole process; ours is the smaller one, held by Lines.
csv.field_size_limit(MAX_ROW_CHARS + 1)


class Dialect(NamedTuple):
    """How fields are told apart, and what escapes a quote besides a second one."""

    delimiter: str
    escape: str | None


def _rows(lines: Lines, dialect: Dialect) -> Iterator[list[str] | Reject]:
    """Each record, or the line that is none. Whoever takes a record calls lines.done()."""
    reader = _reader(lines, dialect)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except (csv.Error, TooLong) as error:
            reason = "the quoting is broken" if isinstance(error, csv.Error) else "too long, or a quote never closes"
            number = lines.number
            yield Reject(number, reason, raw_text([lines.give_back()]))
            reader = _reader(lines, dialect)


def _reader(lines: Iterator[str], dialect: Dialect) -> "Iterator[list[str]]":
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        escapechar=dialect.escape,
        doublequote=True,
        strict=True,  # else a stray quote silently swallows the rows that follow
    )


def read_csv(
    readline: ReadLine, dialect: Dialect, reading: Reading, columns: Columns | None = None, number: int = 1
) -> Iterator[Event | Reject]:
    """With columns: records from the line of this number on; else the first one is the header."""
    lines = Lines(readline, number)
    for row in _rows(lines, dialect):
        if type(row) is Reject:
            if columns is None:
                raise Unreadable(f"the header cannot be read: {row.reason}", reason="unknown_layout")
            yield row
            continue
        assert isinstance(row, list)  # noqa: S101  # for the type checker
        if any(row) if len(row) < 2 else True:  # an empty line is no record
            if columns is None:
                columns = reading.columns(row)
            else:
                yield _event_or_reject(columns, row, lines)
        else:
            lines.skip()
        lines.done()


def _event_or_reject(columns: Columns, row: Sequence[Any], lines: Lines) -> Event | Reject:
    try:
        return columns.read(row, lines.number)
    except Rejected as rejected:
        return Reject(lines.number, str(rejected), raw_text(lines.pulled))


def dialect_of(head: str, reading: Reading) -> Dialect:
    """The delimiter under which the header says where the fields are, and whether `\\` escapes. Raises Unreadable
    with what the header says."""
    sample = _sample(head)
    problems: list[tuple[int, Unreadable]] = []
    for delimiter in _DELIMITERS:
        names = header_in(sample, Dialect(delimiter, None))
        try:
            reading.columns(names)
        except Unreadable as problem:
            problems.append((len(names), problem))
            continue
        choices = [Dialect(delimiter, escape) for escape in ((None, "\\") if '\\"' in head else (None,))]
        return min(choices, key=lambda dialect: _faults(head, dialect, reading))
    raise max(problems, key=lambda found: found[0])[1]  # what the most likely delimiter found


def header_of(head: str, reading: Reading) -> tuple[list[str], str]:
    """The names of the columns and the delimiter: under which the header is understood, else the likeliest."""
    try:
        delimiters: tuple[str, ...] = (dialect_of(head, reading).delimiter,)
    except Unreadable:
        delimiters = _DELIMITERS
    sample = _sample(head)
    headers = [(header_in(sample, Dialect(delimiter, None)), delimiter) for delimiter in delimiters]
    return max(headers, key=lambda found: len(found[0]))


def _sample(head: str) -> list[str]:
    return list(islice(io.StringIO(head, newline=""), _SAMPLE_LINES))


def header_in(lines: Iterable[str], dialect: Dialect) -> list[str]:
    """The names in the first of these lines that is not empty."""
    try:
        return next((row for row in _reader(iter(lines), dialect) if any(row)), [])
    except csv.Error:
        return []


def _faults(head: str, dialect: Dialect, reading: Reading) -> int:
    """How many records of the sample are no events; its last line may be cut and does not count."""
    whole = head[: max(head.rfind("\n"), head.rfind("\r")) + 1] or head
    readline = io.StringIO(whole, newline="").readline
    return sum(type(result) is Reject for result in read_csv(readline, dialect, reading))
