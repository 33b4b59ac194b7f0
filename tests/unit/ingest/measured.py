"""A process that reads one file and says what came of it and what it took; it holds nothing else.

Told on its standard input: the path of a file, or the parts of an endless one."""

import io
import json
import os
import resource
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from services.ingest.reading.parse import read_pieces
from services.ingest.reading.reading import Reading
from services.ingest.records import Unreadable

_SAMPLE_S = 0.02


class Endless(io.RawIOBase):
    """A file that nobody could hold in memory: a head, a filler many times, and an end."""

    def __init__(self, head: bytes, filler: bytes, size: int, end: bytes) -> None:
        self._given = (head, filler, size, end)
        self._parts = self._generate()
        self._rest = b""

    def _generate(self) -> Iterator[bytes]:
        head, filler, size, end = self._given
        yield head
        for _ in range(size // len(filler)):
            yield filler
        yield end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        assert (offset, whence) == (0, 0)
        self._parts, self._rest = self._generate(), b""
        return 0

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._parts, b"")
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Memory:
    """The most that this process and those it started held at once, as far as looks at it tell."""

    def __init__(self) -> None:
        self._children = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            threads = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
            pids = {*children, *(pid for found in threads for pid in found)}
            self._children = max(self._children, sum(_most_mb(pid) for pid in pids))

    def mb(self) -> float:
        self._done.set()
        self._thread.join()
        return _most_mb("self") + self._children


def _most_mb(pid: str) -> float:
    """Not from getrusage: there a process begins with what the one before it had."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    told = json.loads(sys.stdin.read())
    memory = _Memory()
    stream: BinaryIO
    if "path" in told:
        stream = Path(told["path"]).open("rb")  # noqa: SIM115  # the process ends with it
        size = Path(told["path"]).stat().st_size
    else:
        size = told["size"]
        parts = [bytes.fromhex(told[name]) for name in ("head", "filler", "end")]
        stream = io.BufferedReader(Endless(parts[0], parts[1], size, parts[2]))
    good = bad = 0
    reason = None
    try:
        for piece in read_pieces(stream, size, Reading({}, datetime(2026, 11, 23, 10, tzinfo=UTC))):
            good, bad = good + piece.rows - len(piece.rejects), bad + len(piece.rejects)
    except Unreadable as problem:
        good, bad, reason = 0, 0, problem.reason
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
    sys.stdout.write(json.dumps({"good": good, "bad": bad, "reason": reason, "mb": memory.mb(), "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
