"""One set of real servers per test run, started when a test first needs one, shared by all xdist workers.

The process that owns the run (the xdist controller, or the only process) owns the servers. Workers ask it through a
Unix socket and wait for the answer, so a run of unit tests starts nothing, and a run that needs PostgreSQL alone does
not wait for RabbitMQ.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from devstack import Endpoints, ServerFailed, ServerName, Stack

_MEMORY = Path("/dev/shm")  # of its folders each is of its maker alone, mode 700
_ROOM_BYTES = 6 << 30  # some ten times what a run of all tests has at a time
_PREFIX = "justai-test-"
_SOCKET_PREFIX = "justai-ask-"
_ANSWER_S = 110.0  # less than the time limit of a test, so that the reason is seen


class Servers(Protocol):
    """Where a test gets its servers from."""

    def need(self, *names: ServerName) -> Endpoints:
        """Endpoints of at least these; starts what is not there yet. Raises `ServerFailed`."""


class OwnServers:
    """The servers of this run. Nothing is started, and no folder made, before the first `need`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._opening = threading.Lock()
        self._folder: Path | None = None
        self._stack: Stack | None = None
        self._failures: dict[tuple[ServerName, ...], str] = {}

    def need(self, *names: ServerName) -> Endpoints:
        if names in self._failures:  # every further test would wait as long, only to learn the same
            raise ServerFailed(self._failures[names])
        try:
            return self._opened().need(*names)
        except ServerFailed as failure:
            self._failures[names] = str(failure)
            raise

    def _opened(self) -> Stack:
        with self._opening:
            if self._stack is None:
                for parent in {_MEMORY, Path(tempfile.gettempdir())}:
                    remove_abandoned_folders(parent)
                self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=quick_parent()))
                self._stack = Stack(self._folder, durable=False, environ=self._environ)
            return self._stack

    def close(self) -> None:
        with self._opening:
            if self._stack is not None and self._folder is not None:
                self._stack.stop()
                shutil.rmtree(self._folder, ignore_errors=True)


class OwnersSocket:
    """Answers the workers' requests, each in a thread of its own."""

    def __init__(self, servers: Servers) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=_SOCKET_PREFIX)
        self.path = str(Path(self._folder.name) / "socket")

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                names: list[ServerName] = self.rfile.readline().decode().split()  # type: ignore[assignment] # our own
                try:
                    answer = "ok " + servers.need(*names).to_json()
                except ServerFailed as failure:
                    answer = f"failed {failure}"
                with suppress(BrokenPipeError):  # the worker was interrupted meanwhile
                    self.wfile.write(answer.encode())

        self._server = socketserver.ThreadingUnixStreamServer(self.path, Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._folder.cleanup()


class SharedServers:
    """A worker's view: asks the owner once per set of names."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._known: dict[tuple[ServerName, ...], Endpoints] = {}

    def need(self, *names: ServerName) -> Endpoints:
        if names not in self._known:
            self._known[names] = self._ask(names)
        return self._known[names]

    def _ask(self, names: tuple[ServerName, ...]) -> Endpoints:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(self._socket_path)
            connection.sendall(" ".join(names).encode() + b"\n")
            with connection.makefile("rb") as answer:
                verdict, _, body = answer.read().decode().partition(" ")
        if verdict != "ok":
            raise ServerFailed(body or "the process that owns the servers has gone")
        return Endpoints.from_json(body)


def quick_parent(memory: Path = _MEMORY, meminfo: Path = Path("/proc/meminfo")) -> Path:
    """Where the servers of a run are quickest: in memory, where there is room for them.

    Most tests have a database of their own. Its 600 files cost the kernel 0.05 to 0.4 s on a disk and
    0.04 s here.
    """
    on_disk = Path(tempfile.gettempdir())
    try:
        free = re.search(r"^MemAvailable: +(\d+) kB", meminfo.read_text(), re.MULTILINE)
        room = min(shutil.disk_usage(memory).free, int(free[1]) * 1024 if free else 0)
    except OSError:  # no such place here
        return on_disk
    return memory if room >= _ROOM_BYTES and os.access(memory, os.W_OK) else on_disk


def remove_abandoned_folders(parent: Path) -> None:
    """Delete what killed runs have left; the lock of a living run is held by it and by each of its servers."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            fd = os.open(folder / "lock", os.O_RDWR)
        except OSError:  # no folder of ours, or one that is being made or removed
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(fd)
    for folder in parent.glob(f"{_SOCKET_PREFIX}*"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(folder / "socket"))
            except ConnectionRefusedError:  # its owner was killed
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue
