"""Rows to Parquet, each table in one explicit schema. The same rows in the same order always make the same bytes.

Nothing here reads a clock, a random number or the environment, and every writer option is fixed. The bytes do change
with the pyarrow release (its version stands in the footer), so after an upgrade an hour that is exported again is
uploaded once more.
"""

import hashlib
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import RawIOBase
from typing import IO, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from shared.exports import Table

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

_STREAM_BYTES = 1 << 20

VARS = pa.struct([("subject", pa.string()), ("preheader", pa.string()), ("body", pa.string())])
MOMENT = pa.timestamp("us", tz="UTC")

R = TypeVar("R")
Rows = TypeVar("Rows", bound=Sized)  # some rows of a table, in the order of the file
Rows_contra = TypeVar("Rows_contra", bound=Sized, contravariant=True)


class Group(Protocol[Rows_contra]):
    """The row group in the making. `lost`: rows in it whose copy did not open."""

    rows: int
    full: bool
    lost: int

    def fill(self, rows: Rows_contra, start: int) -> int:
        """Append those from `start` on until the group is full; where it stopped."""

    def columns(self) -> list[pa.Array]:
        """All rows, by column; of use until `clear`."""

    def clear(self) -> None:
        """Forget them."""


@dataclass(frozen=True)
class Form(Generic[Rows]):
    """One table's file: its columns, and how rows become them.

    `version`: columns are only ever added, at the end; each addition raises it. All of them are optional in the file: a
    table that a warehouse made from the first file keeps fitting. `events_of`: unix seconds of the first and the last
    of some rows. `repeating`: columns with a dictionary; one of bodies would be given up after 1 MB and cost that.
    """

    table: Table
    version: int
    fields: Sequence[tuple[str, pa.DataType]]
    group: Callable[[], Group[Rows]]
    events_of: Callable[[Rows], tuple[int, int] | None]
    repeating: Sequence[str]
    statistics: Sequence[str]

    @property
    def schema(self) -> pa.Schema:
        said = {"justai.table": self.table, "justai.schema_version": str(self.version)}
        return pa.schema(list(self.fields), metadata=said)


class PlainGroup(Generic[R]):
    """Rows that are kept as they are until their columns are made. `size`: about how much text a row is."""

    lost = 0

    def __init__(self, size: Callable[[R], int], columns: Callable[[Sequence[R]], list[pa.Array]]) -> None:
        self._size_of, self._columns = size, columns
        self.clear()

    def clear(self) -> None:
        """Forget the rows."""
        self.rows, self.full, self._size, self._kept = 0, False, 0, list[R]()

    def fill(self, rows: Sequence[R], start: int) -> int:
        """Append those from `start` on until the group is full; where it stopped."""
        while start < len(rows) and not self.full:
            self._kept.append(rows[start])
            self._size += self._size_of(rows[start])
            self.rows += 1
            start += 1
            self.full = self.rows >= ROW_GROUP_ROWS or self._size >= ROW_GROUP_BYTES
        return start

    def columns(self) -> list[pa.Array]:
        """All rows, by column."""
        return self._columns(self._kept)


@dataclass(frozen=True, slots=True)
class Summary:
    """What one file holds. Timestamps are unix seconds, None without rows."""

    rows: int
    bytes: int
    sha256: str
    first_event: int | None
    last_event: int | None
    rows_without_vars: int


class HourFile(Generic[Rows]):
    """One Parquet file, written to `target` row group by row group, each in a thread of its own while the next one is
    filled. `add` and `close` are for a thread; who gives up before `close` calls `abandon`."""

    def __init__(self, target: IO[bytes], form: Form[Rows]) -> None:
        self._sink, self._form, self._schema = _HashingSink(target), form, form.schema
        # Parquet writes many little pieces a row group. Each would wait for the interpreter, which the thread that
        # fills the next group gives away for moments only.
        self._stream = pa.BufferedOutputStream(pa.PythonFile(self._sink, "w"), _STREAM_BYTES)
        self._writer = pq.ParquetWriter(
            self._stream,
            self._schema,
            use_dictionary=list(form.repeating),
            write_statistics=list(form.statistics),
            **WRITER,
        )
        self._filling, self._full = form.group(), form.group()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._writing: Future[None] | None = None
        self._rows = self._without_vars = 0
        self._first: int | None = None
        self._last: int | None = None

    def add(self, rows: Rows) -> None:
        """Append rows, which come in the order of the file."""
        at = 0
        while at < len(rows):
            at = self._filling.fill(rows, at)
            if self._filling.full:
                self._flush()
        if len(rows) and (events := self._form.events_of(rows)) is not None:
            self._first = events[0] if self._first is None else self._first
            self._last = events[1]
        self._rows += len(rows)

    def close(self) -> Summary:
        """Write the footer; what the file holds."""
        self._flush()
        self._written()
        self._thread.shutdown()
        self._writer.close()
        self._stream.flush()
        return Summary(
            rows=self._rows,
            bytes=self._sink.written,
            sha256=self._sink.digest.hexdigest(),
            first_event=self._first,
            last_event=self._last,
            rows_without_vars=self._without_vars,
        )

    def abandon(self) -> None:
        """Let nothing write to the target any more; waits for what is being written. Harmless after `close`."""
        self._thread.shutdown()

    def _flush(self) -> None:
        if self._filling.rows:
            self._written()
            self._without_vars += self._filling.lost
            # Made here, so that the other thread hardly needs the interpreter and the two do not wait for each other.
            batch = pa.RecordBatch.from_arrays(self._filling.columns(), schema=self._schema)
            self._filling, self._full = self._full, self._filling
            self._writing = self._thread.submit(self._write, batch, self._full)

    def _write(self, batch: pa.RecordBatch, group: Group[Rows]) -> None:
        self._writer.write_batch(batch)
        group.clear()

    def _written(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None


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
