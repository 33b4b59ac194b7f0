"""Rows to Parquet in one explicit schema. The same rows in the same order always make the same bytes.

Nothing here reads a clock, a random number or the environment, and every writer option is fixed. The bytes do change
with the pyarrow release (its version stands in the footer), so after an upgrade an hour that is exported again is
uploaded once more.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import RawIOBase
from typing import IO, NamedTuple

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types
import zstandard

from services.egress.model import StoredRow
from shared.schemas.copy import Vars
from shared.vars_codec import decode_vars

SCHEMA_VERSION = 1
"""Columns are only ever added, at the end; each addition raises it."""

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
_ZSTD_LEVEL = 3

_VARS = pa.struct([("subject", pa.string()), ("preheader", pa.string()), ("body", pa.string())])

# All columns are optional in the file: a table that a warehouse made from the first file keeps fitting when a later
# version has rows without copy.
SCHEMA = pa.schema(
    [
        ("event_timestamp", pa.int64()),  # unix seconds, UTC
        ("user_id", pa.string()),
        ("tracking_id", pa.string()),
        ("copy_id", pa.string()),
        ("template_id", pa.string()),
        ("vars", _VARS),
        ("attrs", pa.map_(pa.string(), pa.string())),
    ],
    metadata={"justai.table": "generations", "justai.schema_version": str(SCHEMA_VERSION)},
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What one file holds. Timestamps are unix seconds, None without rows."""

    rows: int
    bytes: int
    sha256: str
    first_event: int | None
    last_event: int | None
    rows_without_vars: int


class HourFile:
    """One Parquet file, written to `target` row group by row group. `add` and `close` are for a thread."""

    def __init__(self, target: IO[bytes]) -> None:
        self._sink = _HashingSink(target)
        self._writer = pq.ParquetWriter(
            self._sink,
            SCHEMA,
            version="2.6",
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            # Dictionaries only where values repeat; a dictionary of bodies would be given up after 1 MB and cost that.
            use_dictionary=["copy_id", "template_id", "attrs.key_value.key", "attrs.key_value.value"],
            write_statistics=["event_timestamp", "user_id", "tracking_id", "copy_id", "template_id"],
            data_page_size=_PAGE_BYTES,
        )
        self._pending: list[_Row] = []
        self._pending_bytes = 0
        self._rows = self._without_vars = 0
        self._first: int | None = None
        self._last: int | None = None

    def add(self, rows: Sequence[StoredRow]) -> None:
        """Append rows, which come in the order of the file."""
        for stored in rows:
            copy = _readable_vars(stored)
            if copy is None:
                self._without_vars += 1
            self._pending.append(_Row(stored, copy))
            self._pending_bytes += 200 + (0 if copy is None else len(copy.body) + len(copy.subject))
            if len(self._pending) >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
                self._flush()
        if rows:
            self._first = rows[0].event_timestamp if self._first is None else self._first
            self._last = rows[-1].event_timestamp
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
            self._writer.write_batch(_batch(self._pending))
            self._pending, self._pending_bytes = [], 0


class _Row(NamedTuple):
    stored: StoredRow
    copy: Vars | None


def _readable_vars(stored: StoredRow) -> Vars | None:
    """None when the stored copy does not open: one damaged row must not hold up its hour, and is counted instead."""
    if stored.vars is None or stored.source is None:
        return None
    try:
        return decode_vars(stored.vars, stored.source)
    except (zstandard.ZstdError, UnicodeDecodeError, ValueError):
        return None


def _batch(rows: Sequence[_Row]) -> pa.RecordBatch:
    stored = [row.stored for row in rows]
    copies = [row.copy for row in rows]
    columns = [
        pa.array([row.event_timestamp for row in stored], pa.int64()),
        pa.array([row.user_id for row in stored], pa.string()),
        pa.array([row.tracking_id for row in stored], pa.string()),
        pa.array([row.copy_id for row in stored], pa.string()),
        pa.array([row.template_id for row in stored], pa.string()),
        _vars_column(copies),
        _attrs_column([row.attrs for row in stored]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _vars_column(copies: Sequence[Vars | None]) -> pa.StructArray:
    parts = [pa.array([None if copy is None else copy[n] for copy in copies], pa.string()) for n in range(3)]
    return pa.StructArray.from_arrays(parts, fields=list(_VARS), mask=pa.array([copy is None for copy in copies]))


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
