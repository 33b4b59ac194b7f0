"""A process of its own: a Parquet file in, its rows as lines of JSON out.

Run as a script, with the file's descriptor. The reader is native code and a file says itself how much memory it wants:
here it can ask for no more than it was given, knows no secret, and falls alone. It says what the file is (one object:
`names`, `rows`), is told which columns are wanted (a line, `[0, 3]`), and says each row as an array, or as a text why
that row cannot be read. It ends with 0, or with a last object `problem` and 1.
"""

import os
import resource
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_BATCH_BYTES, _LEAST_ROWS, _MOST_ROWS = 8 << 20, 16, 1024  # of a batch
_BUFFER_BYTES: Final = 1 << 16  # of a column that is read ahead
_THRIFT_ITEMS: Final = 1_000_000
_MOST_FOOTER_BYTES: Final = 8 << 20
_MOST_NAMES: Final = 5000
_BUSY_S: Final = 120  # seconds of a processor that one batch may take
_DAMAGE: Final = (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError, OSError, IndexError, TypeError)
_UNREADABLE_VALUE: Final = (ValueError, OverflowError, ArithmeticError, LookupError, pa.ArrowException)


class _Refused(Exception):
    """The file cannot be read: (reason, what to say)."""


def main(fd: int, most_unpacked: int, memory_bytes: int) -> int:
    """Everything, until there is no more or nobody listens."""
    out = sys.stdout.buffer
    try:
        _give(memory_bytes)
        with os.fdopen(fd, "rb") as stream:
            for said in _say(stream, most_unpacked):
                out.write(said)
                out.write(b"\n")
        out.flush()
    except _Refused as refused:
        return _problem(*refused.args)
    except MemoryError:
        return _problem("too_large_unpacked", "the Parquet data asks for more memory than a file is given")
    except BrokenPipeError:
        os._exit(0)  # whoever asked has gone; even flushing would fail
    except _DAMAGE as error:
        return _problem("damaged_parquet", f"the Parquet data is damaged or cut off: {str(error)[:200]}")
    return 0


def _problem(reason: str, says: str) -> int:
    sys.stdout.buffer.write(orjson.dumps({"problem": says, "reason": reason}) + b"\n")
    sys.stdout.buffer.flush()
    return 1


def _give(memory_bytes: int) -> None:
    """So much beyond what the libraries took."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say(stream: Any, most_unpacked: int) -> Iterator[bytes]:
    _demand_small_footer(stream)
    file = pq.ParquetFile(
        stream, buffer_size=_BUFFER_BYTES, pre_buffer=False, coerce_int96_timestamp_unit="us",
        thrift_string_size_limit=_MOST_FOOTER_BYTES, thrift_container_size_limit=_THRIFT_ITEMS,
    )  # fmt: skip
    told = file.metadata
    unpacked = sum(told.row_group(number).total_byte_size for number in range(told.num_row_groups))
    if unpacked > most_unpacked:
        raise _Refused("too_large_unpacked", "the file unpacks to more than is read")
    names = file.schema_arrow.names
    if len(names) > _MOST_NAMES:
        raise _Refused("too_many_columns", f"{len(names)} columns are more than are read")
    yield orjson.dumps({"names": names, "rows": told.num_rows})
    sys.stdout.buffer.flush()
    wanted = [names[index] for index in orjson.loads(sys.stdin.buffer.readline() or b"null")]
    rows = 0
    _stay_alive()
    batch_rows = max(_LEAST_ROWS, min(_MOST_ROWS, _BATCH_BYTES * told.num_rows // max(unpacked, 1)))
    for batch in file.iter_batches(batch_size=batch_rows, columns=wanted, use_threads=False):
        _stay_alive()
        rows += batch.num_rows
        yield from _rows(batch.select(wanted))
    if rows != told.num_rows:
        raise _Refused("damaged_parquet", f"{rows} rows came of a file that says it has {told.num_rows}")


def _demand_small_footer(stream: Any) -> None:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 8))
    tail = stream.read()
    if size < 12 or not tail.endswith(b"PAR1"):
        raise _Refused("damaged_parquet", "the Parquet data is damaged or cut off: it has no footer")
    footer = int.from_bytes(tail[:4], "little")
    if footer > min(_MOST_FOOTER_BYTES, size - 12):
        raise _Refused("damaged_parquet", f"the Parquet data is damaged: its footer cannot have {footer} bytes")


def _stay_alive() -> None:
    """Up to here it did something; a batch that never ends is not waited for."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + _BUSY_S, resource.getrlimit(resource.RLIMIT_CPU)[1])
    )


def _rows(batch: pa.RecordBatch) -> Iterator[bytes]:
    columns = [_in_microseconds(column) for column in batch.columns]
    try:
        # Not with to_pylist of the batch: it needs a dict per row, and two columns may have one name.
        values = [column.to_pylist(maps_as_pydicts="lossy") for column in columns]
        yield from [_line(list(row)) for row in zip(*values, strict=True)] if values else [b"[]"] * batch.num_rows
    except (*_UNREADABLE_VALUE, TypeError):
        for number in range(batch.num_rows):
            yield _row(columns, number)


def _row(columns: list[pa.Array], number: int) -> bytes:
    try:
        return _line([column[number].as_py(maps_as_pydicts="lossy") for column in columns])
    except (*_UNREADABLE_VALUE, TypeError):
        return b'"a value cannot be read"'


def _in_microseconds(column: pa.Array) -> pa.Array:
    """Python's times have no smaller part."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    return column


def _line(values: list[Any]) -> bytes:
    return orjson.dumps(values, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 1 << 63 else float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise ValueError(type(value).__name__)


def run() -> NoReturn:
    """As told by the command line."""
    sys.exit(main(*(int(argument) for argument in sys.argv[1:4])))


if __name__ == "__main__":
    run()
