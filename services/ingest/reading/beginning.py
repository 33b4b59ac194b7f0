"""How a file would be read, told from its beginning. Made of the very readers that load files (`text`, `parse`,
`mapping`), which see the part as a file whose last record is not whole."""

import io
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple, TextIO, cast

import orjson

from services.ingest.reading import arrays, parse
from services.ingest.reading.delimited import header_of
from services.ingest.reading.klaviyo_event import Names, flat, is_event, metric_names
from services.ingest.reading.lines import MAX_ROW_CHARS
from services.ingest.reading.mapping import FIELDS, located
from services.ingest.reading.parquet import PARQUET, open_table
from services.ingest.reading.reading import Reading
from services.ingest.reading.text import OpenedText, open_text
from services.ingest.reading.unpack import DAMAGE, Packing, damaged, directory_bytes, packing_of, the_member, unpacked
from services.ingest.records import Event, Listed, Reject, Unreadable
from shared.errors import Transient
from shared.event_fields import HASH
from shared.schemas.probes import FilePreview, FoundField, SeenReject

BEGINNING_BYTES: Final = 256 * 1024
"""So much of a file is read, packed as it is."""
MOST_TABLE_BYTES: Final = 16 << 20
"""Parquet keeps columns apart: rows are shown of files that can be read as a whole."""

_FOOTER_BYTES = 1 << 20
_DIRECTORY_BYTES = 1 << 17

_MOST_UNPACKED = 1 << 20
_MOST_RECORDS = 2000
_SHOWN = 10
_SHOWN_COLUMNS = 500
_LONGEST_NAME = 200
_LONGEST_VALUE = 200
_LONGEST_RAW = 400
_OBJECTS = 50  # of which the keys are offered as columns

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def end_bytes(data: bytes, size: int) -> int:
    """How much of a file's end must be read too, told from its beginning: what tables and archives say of themselves
    stands there."""
    missing = size - len(data)
    if data.startswith(PARQUET):
        return missing if size <= MOST_TABLE_BYTES else min(missing, _FOOTER_BYTES)
    return min(missing, _DIRECTORY_BYTES) if packing_of(data[:4]) == "zip" else 0


def look(data: bytes, file: Listed, reading: Reading, end: bytes = b"") -> FilePreview:
    """What `data`, the beginning of the file or all of it, is read as; `end`: the last bytes, if `end_bytes` asked for
    some. Never raises Unreadable: it is told."""
    if data and len(data) + len(end) >= file.size:
        data, end = data + end, b""
    whole = len(data) >= file.size
    about = {"path": file.path, "size": file.size, "read_bytes": len(data) + len(end), "whole": whole}
    try:
        if data.startswith(PARQUET):
            return _look_at_table(_with_hole(data, end, file.size), about, reading)
        opened = _opened(data, end, file.size, reading, whole=whole)
    except (Unreadable, Transient) as problem:
        return FilePreview(**about, problem=str(problem))
    kind = parse.kind_of(opened.head)
    columns, how = _columns(opened.head, kind, reading)
    format = ", ".join(filter(None, (kind, how, opened.encoding.upper(), packing_of(data[:4]))))
    if not kind:
        return FilePreview(**about, format="empty")
    names: Names = None
    if whole:
        pages = _opened(data, end, file.size, reading, whole=True).text if kind == "JSON pages" else io.StringIO()
        names = _metric_names(pages)
    text = opened.text if whole else _Part(opened.text)
    seen = _seen(lambda: parse.read_text(text, opened.head, reading, names), reading)
    return _preview(about, format, columns, reading, seen)


def _look_at_table(stream: BinaryIO, about: dict[str, Any], reading: Reading) -> FilePreview:
    with stream, open_table(stream, about["size"], reading.limits) as table:
        if about["whole"]:
            seen = _seen(lambda: parse.read_table(table, reading), reading)
        else:
            seen = _seen(lambda: parse.check_table(table.names, reading), reading)
        return _preview(about, "Parquet", table.names, reading, seen)


class _Seen(NamedTuple):
    events: list[Event]
    rejects: list[Reject]
    problem: str | None


def _seen(read: Callable[[], Iterator[Event | Reject]], reading: Reading) -> _Seen:
    events: list[Event] = []
    rejects: list[Reject] = []
    problem: str | None = None
    try:
        for result in islice(read(), _MOST_RECORDS):
            if isinstance(result, Reject):
                rejects.append(result)
            else:
                events.append(result)
    except (Unreadable, Transient) as found:
        problem = str(found)
    except _Cut:
        pass
    rows = len(events) + len(rejects)
    if problem is None and not reading.limits.forgives(len(rejects), rows):
        problem = f"{len(rejects)} of its first {rows} rows are no events"
    return _Seen(events, rejects, problem)


def _preview(
    about: dict[str, Any], format: str, columns: Sequence[str], reading: Reading, seen: _Seen
) -> FilePreview:  # fmt: skip
    return FilePreview(
        **about,
        format=format,
        columns=[name for name in columns[:_SHOWN_COLUMNS] if 0 < len(name) <= _LONGEST_NAME],
        fields=_fields(located(columns, reading.saved), reading, seen.events),
        events=len(seen.events),
        rejected=len(seen.rejects),
        rows=[_row(event) for event in seen.events[:_SHOWN]],
        rejects=[
            SeenReject(line=one.line, reason=one.reason, raw=one.raw[:_LONGEST_RAW]) for one in seen.rejects[:_SHOWN]
        ],
        problem=seen.problem,
    )


class _Cut(Exception):
    """The part ends here, within a record or after one: nothing can be said of what follows."""


class _Part:
    """A text that is cut off somewhere."""

    def __init__(self, text: TextIO) -> None:
        self._text = text

    def read(self, most: int, /) -> str:
        """Raises _Cut at the end."""
        if not (read := self._text.read(most)):
            raise _Cut
        return read

    def readline(self, most: int, /) -> str:
        """Raises _Cut where a line has no end."""
        line = self._text.readline(most)
        if not line.endswith(("\n", "\r")) and len(line) < most:
            raise _Cut
        return line


def _opened(data: bytes, end: bytes, size: int, reading: Reading, *, whole: bool) -> OpenedText:
    packing = packing_of(data[:4])
    if not whole and packing:
        data = _unpacked(data, end, size, packing)
    return open_text(io.BytesIO(data), len(data), reading.limits)


def _unpacked(data: bytes, end: bytes, size: int, packing: Packing) -> bytes:
    """The beginning of what is packed, where its end is missing."""
    try:
        match packing:
            case "zstd":
                return unpacked(io.BytesIO(data), packing, whole=False).read(_MOST_UNPACKED)
            case "zip":
                return _inflated(data, end, size)
        return _members(data)
    except DAMAGE as error:
        raise damaged(packing, error) from None


def _members(data: bytes) -> bytes:
    """Of gzip."""
    parts: list[bytes] = []
    left = _MOST_UNPACKED
    while data and left > 0:
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(data, left))
        left -= len(parts[-1])
        data = member.unused_data
    return b"".join(parts)


def _inflated(data: bytes, end: bytes, size: int) -> bytes:
    """Of the file in a zip, which its directory at the end tells."""
    with _with_hole(data, end, size) as stream:
        if directory_bytes(stream) > len(end):
            raise Unreadable("a zip with too many files; put one event file in each", reason="many_in_zip")
        archive, member = the_member(stream)
        archive.close()
    header = data[member.header_offset : member.header_offset + 30]
    names = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    start = member.header_offset + 30 + names
    if member.compress_type == zipfile.ZIP_STORED:
        return data[start : start + member.file_size]
    return zlib.decompressobj(wbits=-15).decompress(data[start:], _MOST_UNPACKED)


def _with_hole(data: bytes, end: bytes, size: int) -> BinaryIO:
    """The file as far as it is known."""
    stream = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # the caller's
    stream.write(data)
    if end:
        stream.seek(size - len(end))
        stream.write(end)
    return stream


def _metric_names(pages: TextIO) -> Names:
    try:
        return metric_names(arrays.elements(pages.read, MAX_ROW_CHARS))
    except Unreadable:
        return {}  # who reads the events will say it


def _columns(head: str, kind: str, reading: Reading) -> tuple[list[str], str]:
    """The names of the columns, and what is said of a CSV file's delimiter."""
    if kind == "CSV":
        names, delimiter = header_of(head, reading)
        return names, f"separated by {_DELIMITERS[delimiter]}"
    keys: dict[str, None] = {}
    for text in islice(_objects(head, kind), _OBJECTS):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            keys.update(dict.fromkeys(flat(found, None) if is_event(found) else found))
    return list(keys), ""


def _objects(head: str, kind: str) -> Iterator[str]:
    if kind == "JSON lines":
        yield from io.StringIO(head)
        return
    with suppress(Unreadable):  # it ends somewhere in the array
        for element in arrays.elements(io.StringIO(head).read, MAX_ROW_CHARS):
            if element.part == "data":
                yield element.text


def _fields(columns: dict[str, str], reading: Reading, events: Sequence[Event]) -> list[FoundField]:
    """Each field, found or not. What no column holds and rows have all the same came out of the properties."""
    inside = {name for name in Event._fields if any(getattr(event, name) is not None for event in events)}
    found: list[FoundField] = []
    for field in FIELDS:
        if field == "event_id" and reading.saved.get(field) == HASH:
            found.append(FoundField(field=field, column=HASH, by="hand"))
        elif field in columns:
            by = "hand" if field in reading.saved else "header"
            found.append(FoundField(field=field, column=columns[field], by=by))
        else:
            found.append(FoundField(field=field, by="inside" if field in inside and "properties" in columns else None))
    return found


def _row(event: Event) -> dict[str, str]:
    """As it would be understood; what the row does not say is left out."""
    told = {name: _said(value) for name, value in zip(Event._fields, event, strict=True) if value is not None}
    return {name: text[:_LONGEST_VALUE] for name, text in told.items()}


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat() if isinstance(value, datetime) else str(value)
