"""Rows of a Parquet file, read by a process of its own (`parquet_rows`): what is wrong with a file ends there."""

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import UnsupportedOperation
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO, Final

import orjson

from services.ingest.reading.text import Limits
from services.ingest.records import Unreadable
from shared.errors import Transient

PARQUET: Final = b"PAR1"
MEMORY_BYTES: Final = 128 << 20
"""What the other process may take for one file, beyond its libraries."""

_SCRIPT: Final = Path(__file__).with_name("parquet_rows.py")
_SILENCE_S: Final = 300.0  # real seconds; the other process ends by itself after less time of a processor
_END_S: Final = 30.0
_MOST_ROW_BYTES: Final = 1 << 20
_ENVIRONMENT: Final = {  # nothing of ours: no password, no key
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_BY_OTHERS: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def open_table(stream: BinaryIO, size_bytes: int, limits: Limits) -> "Iterator[Table]":
    """The columns and rows of a file, while it is open. Raises Unreadable, or Transient when its reader was ended."""
    with tempfile.TemporaryFile() as copy:
        try:
            fd = stream.fileno()
            stream.flush()
        except UnsupportedOperation:
            stream.seek(0)
            copyfileobj(stream, copy)
            copy.flush()
            fd = copy.fileno()
        most_bytes = limits.unpacked(size_bytes)
        arguments = [str(number) for number in (fd, most_bytes, MEMORY_BYTES)]
        process = subprocess.Popen(  # noqa: S603  # our own script, and numbers
            [sys.executable, "-I", str(_SCRIPT), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, pass_fds=(fd,), env=_ENVIRONMENT,
            start_new_session=True,  # what a terminal sends to us is not for it
        )  # fmt: skip
        with process:
            try:
                yield Table(process, most_bytes)
            finally:
                process.kill()


class Table:
    """A file's columns, the number of its rows, and the rows."""

    def __init__(self, process: "subprocess.Popen[bytes]", most_bytes: int) -> None:
        self._process = process
        self._lines = self._said(most_bytes)
        told = next(self._lines, None)
        if not isinstance(told, dict):
            raise self._fallen()
        self.names: list[str] = told["names"]
        self.row_count: int = told["rows"]

    def rows(self, wanted: Sequence[int]) -> Iterator[list[Any] | str]:
        """The values of those columns, by row; a text says why a row cannot be read. Once."""
        pipe = self._process.stdin
        if pipe is None:
            raise AssertionError("it was opened as a pipe")
        try:
            pipe.write(orjson.dumps(list(wanted)) + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise self._fallen() from None
        yield from self._lines
        if self._process.wait(_END_S):
            raise self._fallen()

    def _said(self, most_bytes: int) -> Iterator[Any]:
        """What it says, line by line. Raises Unreadable where it says that it cannot go on."""
        for line in self._split(most_bytes):
            if line is None:
                yield "too long"
                continue
            found = orjson.loads(line)
            if isinstance(found, dict) and "problem" in found:
                raise Unreadable(found["problem"], reason=found["reason"])
            yield found

    def _split(self, most_bytes: int) -> Iterator[bytes | None]:
        """Its lines; None for one that is too long."""
        left, long = b"", False
        for block in self._blocks():
            most_bytes -= len(block)
            if most_bytes < 0:
                raise Unreadable("the file unpacks to more than is read", reason="too_large_unpacked")
            *lines, rest = block.split(b"\n")
            if lines:
                lines[0] = left + lines[0]
                for line in lines:
                    yield None if long or len(line) > _MOST_ROW_BYTES else line
                    long = False
                left = rest
            else:
                left += rest
            if len(left) > _MOST_ROW_BYTES:
                left, long = b"", True

    def _blocks(self) -> Iterator[bytes]:
        if self._process.stdout is None:
            raise AssertionError("it was opened as a pipe")
        fd = self._process.stdout.fileno()
        coming = select.poll()  # not `select`, which knows no descriptor above 1023
        coming.register(fd, select.POLLIN)
        while True:
            # A pipe has no time limit of its own.
            if not coming.poll(_SILENCE_S * 1000):
                raise Transient(
                    f"the reader of Parquet said nothing for {_SILENCE_S:g} seconds", reason="reader_silent"
                )
            block = os.read(fd, 1 << 18)
            if not block:
                return
            yield block

    def _fallen(self) -> Exception:
        """Why it ended without a word."""
        code = self._process.wait(_END_S)
        if -code in _BY_OTHERS:
            return Transient(f"the reader of Parquet was ended by signal {-code}", reason="reader_ended")
        return Unreadable(
            f"the Parquet data is damaged: its reader fell over it ({signal.Signals(-code).name})"
            if code < 0
            else "the Parquet data is damaged: its reader fell over it",
            reason="damaged_parquet",
        )
