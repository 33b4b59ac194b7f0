"""Rows to Parquet, each table in one explicit schema. The same rows in the same order always make the same bytes.

Nothing here reads a clock, a random number or the environment, and every writer option is fixed. The bytes do change
with the pyarrow release (its version stands in the footer), so after an upgrade an hour that is exported again is
uploaded once more.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import RawIOBase
from typing import IO, Any, Generic, NamedTuple, TypeVar

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types
import zstandard

from services.egress.model import Details, StoredRow
from shared.exports import Record, Table
from shared.schemas.copy import Vars
from shared.vars_codec import decode_vars

ROW_GROUP_ROWS = 10_000
ROW_GROUP_BYTES = 16 << 20
"""Of text before compression; bounds memory however wide the bodies are. 40,000 rows of 10 KB, pyarrow 26:

| group | rows in it | bytes a row in the file | memory of the exporter (102 MB when idle) |
| 32 MB | 3,200 | 49.8 | 329 MB |
| 16 MB | 1,600 | 50.7 | 259 MB |
|  8 MB |   800 | 51.9 | 211 MB |
"""

# Pages this large let zstd see many copies of the same variant: 20,000 bodies of 10 KB from 8 variants took 72 bytes a
# row with them, 162 with pages of 1 MB (pyarrow 26, zstd level 3).
_PAGE_BYTES = 8 << 20
WRITER = {"version": "2.6", "compression": "zstd", "compression_level": 3, "data_page_size": _PAGE_BYTES}

VARS = pa.struct([("subject", pa.string()), ("preheader", pa.string()), ("body", pa.string())])
MOMENT = pa.timestamp("us", tz="UTC")

R = TypeVar("R")


@dataclass(frozen=True)
class Form(Generic[R]):
    """One table's file: its columns, and how rows become them.

    `version`: columns are only ever added, at the end; each addition raises it. All of them are optional in the file: a
    table that a warehouse made from the first file keeps fitting. `open`: a row as it is kept until its group is
    written, and its text in bytes. `repeating`: columns with a dictionary; one of bodies would be given up after 1 MB
    and cost that. `lacks`: whether a row that was opened lost its copy.
    """

    table: Table
    version: int
    fields: Sequence[tuple[str, pa.DataType]]
    open: Callable[[R], tuple[Any, int]]
    columns: Callable[[Sequence[Any]], list[pa.Array]]
    event_of: Callable[[R], int | None]
    repeating: Sequence[str]
    statistics: Sequence[str]
    lacks: Callable[[Any], bool] = lambda _: False

    @property
    def schema(self) -> pa.Schema:
        said = {"justai.table": self.table, "justai.schema_version": str(self.version)}
        return pa.schema(list(self.fields), metadata=said)


@dataclass(frozen=True, slots=True)
class Summary:
    """What one file holds. Timestamps are unix seconds, None without rows."""

    rows: int
    bytes: int
    sha256: str
    first_event: int | None
    last_event: int | None
    rows_without_vars: int


class HourFile(Generic[R]):
    """One Parquet file, written to `target` row group by row group. `add` and `close` are for a thread."""

    def __init__(self, target: IO[bytes], form: Form[R]) -> None:
        self._sink, self._form, self._schema = _HashingSink(target), form, form.schema
        self._writer = pq.ParquetWriter(
            self._sink,
            self._schema,
            use_dictionary=list(form.repeating),
            write_statistics=list(form.statistics),
            **WRITER,
        )
        self._pending: list[Any] = []
        self._pending_bytes = 0
        self._rows = self._without_vars = 0
        self._first: int | None = None
        self._last: int | None = None

    def add(self, rows: Sequence[R]) -> None:
        """Append rows, which come in the order of the file."""
        for stored in rows:
            opened, size = self._form.open(stored)
            self._without_vars += self._form.lacks(opened)
            self._pending.append(opened)
            self._pending_bytes += size
            if len(self._pending) >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
                self._flush()
        if rows:
            self._first = self._form.event_of(rows[0]) if self._first is None else self._first
            self._last = self._form.event_of(rows[-1])
            self._rows += len(rows)

    def close(self) -> Summary:
        """Write the footer; what the file holds."""
        self._flush()
        self._writer.close()
        return Summary(
            rows=self._rows,
            bytes=self._sink.written,
            sha256=self._sink.digest.hexdigest(),
            first_event=self._first,
            last_event=self._last,
            rows_without_vars=self._without_vars,
        )

    def _flush(self) -> None:
        if self._pending:
            columns = self._form.columns(self._pending)
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
            self._pending, self._pending_bytes = [], 0


class _Row(NamedTuple):
    stored: StoredRow
    copy: Vars | None


def _open(stored: StoredRow) -> tuple[_Row, int]:
    copy = _readable_vars(stored)
    text = 0 if copy is None else sum(map(len, copy))
    return _Row(stored, copy), 200 + text + weight(stored.attrs)


def weight(attrs: Mapping[str, object]) -> int:
    """About how many bytes of text the attrs of one generation are."""
    return sum(
        len(name) + (sum(map(len, map(str, value))) if isinstance(value, list) else len(str(value)))
        for name, value in attrs.items()
    )


def _readable_vars(stored: StoredRow) -> Vars | None:
    """None when the stored copy does not open: one damaged row must not hold up its hour, and is counted instead."""
    if stored.vars is None or stored.source is None:
        return None
    try:
        return decode_vars(stored.vars, stored.source)
    except (zstandard.ZstdError, UnicodeDecodeError, ValueError):
        return None


def _columns(rows: Sequence[_Row]) -> list[pa.Array]:
    stored = [row.stored for row in rows]
    return [
        pa.array([row.event_timestamp for row in stored], pa.int64()),
        pa.array([row.user_id for row in stored], pa.string()),
        pa.array([row.tracking_id for row in stored], pa.string()),
        pa.array([row.copy_id for row in stored], pa.string()),
        pa.array([row.template_id for row in stored], pa.string()),
        vars_column([row.copy for row in rows]),
        _attrs_column([row.attrs for row in stored]),
    ]


def _analyst_columns(rows: Sequence[_Row]) -> list[pa.Array]:
    details = zip(*(_details(row.stored) for row in rows), strict=True)
    more = [pa.array(values, kind) for values, (_, kind) in zip(details, _ANALYST_FIELDS, strict=True)]
    return _columns(rows) + more


def _details(stored: StoredRow) -> Details:
    if stored.details is None:
        raise AssertionError("a row for analysts was read without its details")
    return stored.details


def vars_column(copies: Sequence[Vars | None]) -> pa.StructArray:
    """The three texts; null where there is no copy."""
    parts = [pa.array([None if copy is None else copy[n] for copy in copies], pa.string()) for n in range(3)]
    return pa.StructArray.from_arrays(parts, fields=list(VARS), mask=pa.array([copy is None for copy in copies]))


def _attrs_column(attrs: Sequence[Mapping[str, object]]) -> pa.MapArray:
    """Keys in order, so that equal attrs make equal bytes whatever order they were given in."""
    offsets, keys, values = [0], [], []
    for given in attrs:
        for key in sorted(given):
            keys.append(key)
            values.append(_text(given[key]))
        offsets.append(len(keys))
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(keys, pa.string()), pa.array(values, pa.string())
    )


def _text(value: object) -> str | None:
    """A map of strings has one type for all: a list becomes its JSON text, which every warehouse can take apart."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


_PAGE_FIELDS = [
    ("event_timestamp", pa.int64()),  # unix seconds, UTC
    ("user_id", pa.string()),
    ("tracking_id", pa.string()),
    ("copy_id", pa.string()),
    ("template_id", pa.string()),
    ("vars", VARS),
    ("attrs", pa.map_(pa.string(), pa.string())),
]
_ANALYST_FIELDS = [
    ("event_time", MOMENT),
    ("generation_id", pa.string()),
    ("variant_name", pa.string()),
    ("propensity", pa.float64()),
    ("snapshot_id", pa.string()),
    ("control", pa.bool_()),
    ("decision", pa.string()),
    ("reason", pa.string()),
    ("outcome", pa.string()),
    ("outcome_reason", pa.string()),
]
_REPEATING = ["copy_id", "template_id", "attrs.key_value.key", "attrs.key_value.value"]
_STATISTICS = ["event_timestamp", "user_id", "tracking_id", "copy_id", "template_id"]


def _event(row: StoredRow) -> int:
    return row.event_timestamp


def _lost_its_copy(row: _Row) -> bool:
    return row.copy is None and row.stored.copy_id is not None


PAGE = Form(
    "generations", 1, _PAGE_FIELDS, _open, _columns, _event, _REPEATING, _STATISTICS, _lost_its_copy
)  # fmt: skip
"""The contract's record, of decisions with a copy."""

ANALYST = Form(
    "generations", 2, [*_PAGE_FIELDS, *_ANALYST_FIELDS], _open, _analyst_columns, _event,
    [*_REPEATING, "variant_name", "snapshot_id", "decision", "reason", "outcome", "outcome_reason"],
    [*_STATISTICS, "event_time", "generation_id"], _lost_its_copy,
)  # fmt: skip
"""That and what an analyst needs, of control decisions too."""

GENERATIONS: Mapping[Record, Form[StoredRow]] = {"page": PAGE, "analyst": ANALYST}


class _HashingSink(RawIOBase):
    """Writes through and hashes on the way: Parquet is written from front to back, so the file is never read again."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self.digest = hashlib.sha256()
        self.written = 0

    def writable(self) -> bool:
        return True

    def write(self, chunk: object) -> int:
        view = memoryview(chunk)  # type: ignore[arg-type]  # pyarrow hands over buffers
        self._target.write(view)
        self.digest.update(view)
        self.written += view.nbytes
        return view.nbytes
