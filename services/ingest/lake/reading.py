"""How files become the rows that the SQL begins with: which column is which, said per engine. Pure.

Headers are read here, once a file, with the rules that the ingest service loads files by (`mapping.py`); files whose
headers say the same are read together. What an engine calls a thing is its Dialect's matter.
"""

import csv
import io
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from services.ingest.lake.engine import Place
from services.ingest.lake.remote import Remote
from services.ingest.reading.mapping import FIELDS, located
from services.ingest.reading.values import NOTHING
from services.ingest.records import Unreadable
from shared.event_fields import REQUIRED_FIELDS

_HEAD_BYTES: Final = 1 << 20
_DELIMITERS: Final = ",;\t|"
# Where each field stands in the properties, where they are one column of JSON.
_NESTED: Final[Mapping[str, tuple[str, ...]]] = {
    "message_id": ("$message",),
    "flow_id": ("$flow",),
    "cohort": ("$_cohort$message_send_cohort",),
    "machine_open": ("machine_open",),
    "bot_click": ("Bot Click",),
    "url": ("URL",),
}
_INTERNAL: Final = {"transmission_id": "Transmission ID", "handoff_at": "Handoff Time"}
_TEXTS: Final = ("event_id", "metric", "profile_id", "message_id", "flow_id", "transmission_id", "machine_open",
                 "bot_click", "url")  # fmt: skip
NO_ROWS: Final = """
    SELECT '' AS file, '' AS event_id, '' AS metric, '' AS profile_id, '' AS message_id, '' AS flow_id,
        '' AS transmission_id, '' AS machine_open, '' AS bot_click, '' AS url, 0 AS event_us, 0 AS handoff_us
    WHERE false
"""
"""`read_rows` where there is no file."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Files that are read alike. `columns`: by field, the name of its column."""

    kind: Literal["csv", "json"]
    delimiter: str
    names: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """`column`: a column by its name; `text`: a text as a literal; `json`: a value at a path of a JSON text, as text;
    `iso_us`, `number_us`: a moment that is written so, as microseconds, null where it is none."""

    column: Callable[[str], str]
    text: Callable[[str], str]
    json: Callable[[str, Sequence[str]], str]
    iso_us: Callable[[str], str]
    number_us: Callable[[str], str]


def shapes_of(files: Iterable[Place], saved: Mapping[str, str]) -> dict[Shape, list[Place]]:
    """Files by shape; empty ones are left out. Raises Unreadable, naming the file, for what is not understood."""
    found: dict[Shape, list[Place]] = {}
    for file in files:
        try:
            shape = _shape(_head(file), saved)
        except Unreadable as problem:
            raise Unreadable(f"{file.name}: {problem}", reason=problem.reason) from None
        if shape is not None:
            found.setdefault(shape, []).append(file)
    return found


def _head(file: Place) -> str:
    if isinstance(file, Remote):
        head = file.head(_HEAD_BYTES)
    else:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    text = bytearray()
    while head.startswith(b"\x1f\x8b") and len(text) < _HEAD_BYTES:  # gzip, in one member or several
        member = zlib.decompressobj(wbits=31)
        try:
            text += member.decompress(head, _HEAD_BYTES)
        except zlib.error:
            raise Unreadable("its gzip is damaged", reason="damaged") from None
        head = member.unused_data
    return bytes(text or head).decode("utf-8-sig", "replace")


def _shape(head: str, saved: Mapping[str, str]) -> Shape | None:
    line = next((one for one in io.StringIO(head) if not one.isspace()), "")
    if not line:
        return None
    if line.lstrip().startswith("{"):
        try:
            names = tuple(orjson.loads(line))
        except orjson.JSONDecodeError:
            raise Unreadable("its first line is not JSON", reason="unknown_layout") from None
        return Shape("json", "", names, _columns(names, saved))
    delimiter = max(_DELIMITERS, key=line.count)
    names = tuple(next(csv.reader([line], delimiter=delimiter)))
    return Shape("csv", delimiter, names, _columns(names, saved))


def _columns(names: Sequence[str], saved: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found = located(names, saved)
    if missing := [field for field in REQUIRED_FIELDS if field not in found]:
        raise Unreadable(f"no column for {', '.join(missing)}", reason="unknown_layout")
    return tuple((field, found[field]) for field in FIELDS if field in found)


def select_rows(shape: Shape, dialect: Dialect, source: str, file: str) -> str:
    """A SELECT of `read_rows` for files of one shape. `source`: the relation with their columns (of JSON: one column
    `line`); `file`: the expression that names each row's file."""
    columns = dict(shape.columns)

    def at_top(field: str) -> str | None:
        if field not in columns:
            return None
        if shape.kind == "json":
            return dialect.json("line", (columns[field],))
        return dialect.column(columns[field])

    properties, internal = at_top("properties"), at_top("internal")
    nothing = ", ".join(map(dialect.text, sorted(NOTHING)))

    def text_of(field: str) -> str:
        nested = None
        if field in _INTERNAL and internal is not None:
            nested = dialect.json(internal, (_INTERNAL[field],))
        elif field in _INTERNAL and properties is not None:
            nested = dialect.json(properties, ("$internal", _INTERNAL[field]))
        elif field in _NESTED and properties is not None:
            nested = dialect.json(properties, _NESTED[field])
        flat = at_top(field)
        parts = [f"CASE WHEN {one} NOT IN ({nothing}) THEN {one} END" for one in (flat, nested) if one is not None]
        return f"coalesce({', '.join(parts)})" if len(parts) > 1 else parts[0] if parts else "CAST(NULL AS VARCHAR(1))"

    fields = [f"{text_of(field)} AS {field}" for field in _TEXTS]
    handoff = f"coalesce({text_of('handoff_at')}, split_part({text_of('cohort')}, ':', 1))"
    times = [f"{_us(text_of('event_at'), dialect)} AS event_us", f"{_us(handoff, dialect)} AS handoff_us"]
    return f"SELECT {file} AS file, {', '.join([*fields, *times])} FROM {source}"  # noqa: S608  # names are quoted


def _us(text: str, dialect: Dialect) -> str:
    """A moment in any of the ways that are read (values.read_time). Spark says a JSON number as 1.79542434E9."""
    plain = f"regexp_replace(trim({text}), ' (UTC|GMT)$', '')"
    return (
        f"CASE WHEN regexp_like({plain}, '^([0-9]{{5}}|[0-9]([.][0-9]+)?E[0-9]+$)') THEN {dialect.number_us(plain)} "
        f"ELSE {dialect.iso_us(plain)} END"
    )


def number_us(text: str) -> str:
    """Seconds, or by their size milli- or microseconds. The same in both engines: doubles as IEEE says."""
    number = f"try_cast({text} AS DOUBLE)"
    scaled = f"CASE WHEN {number} > 1e14 THEN {number} WHEN {number} > 1e11 THEN {number} * 1e3 ELSE {number} * 1e6 END"
    return f"CAST(round(CASE WHEN abs({scaled}) < 9e17 THEN {scaled} END) AS BIGINT)"
