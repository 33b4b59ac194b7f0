"""How a file would be read, told from its beginning. Pure; made of the very readers that load files (`text`, `parse`,
`mapping`), which see the part as a file whose last record is not whole."""

import io
import zlib
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO, Final

import orjson

from services.ingest import parse
from services.ingest.mapping import FIELDS, located
from services.ingest.parse import Reading, ReadLine
from services.ingest.records import Event, Listed, Reject, Unreadable
from services.ingest.text import GZIP, OpenedText, open_text
from shared.schemas.probes import FilePreview, FoundField, SeenReject

BEGINNING_BYTES: Final = 256 * 1024
"""So much of a file is read, packed as it is."""

_MOST_UNPACKED = 1 << 20
_MOST_RECORDS = 2000
_SHOWN = 10
_SHOWN_COLUMNS = 500
_LONGEST_NAME = 200
_LONGEST_VALUE = 200
_LONGEST_RAW = 400
_OBJECTS = 50  # of which the keys are offered as columns

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def look(data: bytes, file: Listed, reading: Reading) -> FilePreview:
    """What `data`, the beginning of the file or all of it, is read as. Never raises Unreadable: it is told."""
    whole = len(data) >= file.size
    packed = data.startswith(GZIP)
    about = {"path": file.path, "size": file.size, "read_bytes": len(data), "whole": whole}
    try:
        opened = _opened(data, reading, whole=whole)
        kind = parse.kind_of(opened.head)
    except Unreadable as problem:
        return FilePreview(**about, problem=str(problem))
    columns, how = _columns(opened.head, kind, reading)
    format = ", ".join(filter(None, (kind, how, opened.encoding.upper(), "gzip" if packed else "")))
    if not kind:
        return FilePreview(**about, format="empty")
    events, rejects, problem_text = _records(opened, reading, whole=whole)
    fields = _fields(located(columns, reading.saved), reading, events)
    return FilePreview(
        **about,
        format=format,
        columns=[name for name in columns[:_SHOWN_COLUMNS] if 0 < len(name) <= _LONGEST_NAME],
        fields=fields,
        events=len(events),
        rejected=len(rejects),
        rows=[_row(event) for event in events[:_SHOWN]],
        rejects=[SeenReject(line=one.line, reason=one.reason, raw=one.raw[:_LONGEST_RAW]) for one in rejects[:_SHOWN]],
        problem=problem_text,
    )


class _Cut(Exception):
    """The part ends here, within a record or after one: nothing can be said of what follows."""


def _opened(data: bytes, reading: Reading, *, whole: bool) -> OpenedText:
    if not whole and data.startswith(GZIP):
        data = _unpacked(data)
    stream: BinaryIO = io.BytesIO(data)
    return open_text(stream, len(data), reading.limits)


def _unpacked(data: bytes) -> bytes:
    """The beginning of what is packed, where its end is missing."""
    parts: list[bytes] = []
    left = _MOST_UNPACKED
    while data and left > 0:
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data, left))
        except zlib.error as error:
            raise Unreadable(f"the gzip data is damaged: {error}", reason="damaged_gzip") from None
        left -= len(parts[-1])
        data = member.unused_data
    return b"".join(parts)


def _records(opened: OpenedText, reading: Reading, *, whole: bool) -> tuple[list[Event], list[Reject], str | None]:
    readline = opened.text.readline if whole else _until_cut(opened.text.readline)
    events: list[Event] = []
    rejects: list[Reject] = []
    problem: str | None = None
    try:
        for result in islice(parse.read_text(readline, opened.head, reading), _MOST_RECORDS):
            if isinstance(result, Reject):
                rejects.append(result)
            else:
                events.append(result)
    except Unreadable as found:
        problem = str(found)
    except _Cut:
        pass
    if problem is None and len(rejects) > len(events):
        problem = f"{len(rejects)} of its first {len(events) + len(rejects)} rows are no events"
    return events, rejects, problem


def _until_cut(readline: ReadLine) -> ReadLine:
    def read(most: int) -> str:
        line = readline(most)
        if not line.endswith(("\n", "\r")) and len(line) < most:
            raise _Cut
        return line

    return read


def _columns(head: str, kind: str, reading: Reading) -> tuple[list[str], str]:
    """The names of the columns, and what is said of a CSV file's delimiter."""
    if kind == "CSV":
        names, delimiter = parse.header_of(head, reading)
        return names, f"separated by {_DELIMITERS[delimiter]}"
    keys: dict[str, None] = {}
    for line in islice(io.StringIO(head), _OBJECTS):
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            keys.update(dict.fromkeys(found))
    return list(keys), ""


def _fields(columns: dict[str, str], reading: Reading, events: Sequence[Event]) -> list[FoundField]:
    """Each field, found or not. What no column holds and rows have all the same came out of the properties."""
    inside = {name for name in Event._fields if any(getattr(event, name) is not None for event in events)}
    found: list[FoundField] = []
    for field in FIELDS:
        if field in columns:
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
