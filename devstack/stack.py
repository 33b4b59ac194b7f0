"""Finds or starts the servers, and ends those that it started."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devstack import engine, given, postgres, rabbitmq, s3, sshd
from devstack.endpoints import SERVERS, Endpoints, ServerName
from devstack.local import Folder, Running, ServerFailed

LOCK_S = 30.0  # a stack that is being stopped in the same folder needs up to 20 s
_PORT_ATTEMPTS = 4


class Stack:
    """Servers in one data folder. A context manager; threads may call `need` at the same time.

    Each server comes from the first of: an environment URL (see `given`), a container where an engine answers, a
    private local process. With `durable` the data outlives a restart and a power cut; without, it only lives as long
    as the folder, and stopping is killing.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool,
        sftp_root: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._durable = durable
        self._sftp_root = (sftp_root or self._data_dir / "sftp").resolve()
        self._environ = os.environ if environ is None else environ
        self._running: dict[ServerName, Running] = {}
        self._stopping = threading.Event()
        # One lock per server: whoever needs PostgreSQL does not wait until RabbitMQ is up for somebody else.
        self._starting = {name: threading.Lock() for name in SERVERS}
        self._lock_fd = _lock(self._data_dir)

    def need(self, *names: ServerName) -> Endpoints:
        """Make these servers available, in parallel, and return the endpoints of all that are available by now.

        Raises `ServerFailed`; servers that did start stay, until `stop`.
        """
        failures: list[str] = []
        with ThreadPoolExecutor(len(SERVERS), thread_name_prefix="devstack") as threads:
            try:
                for future in [threads.submit(self._ensure, name) for name in names if name not in self._running]:
                    try:
                        future.result()
                    except ServerFailed as failure:
                        failures.append(str(failure))
            except BaseException:  # Ctrl-C ends the wait of our threads too
                self._stopping.set()
                raise
        if failures:
            raise ServerFailed("\n".join(failures))
        return self.endpoints

    def _ensure(self, name: ServerName) -> None:
        with self._starting[name]:
            if self._stopping.is_set():
                raise ServerFailed(f"{name} is not started any more: the stack was stopped")
            if name not in self._running:
                self._running[name] = self._find(name)

    @property
    def endpoints(self) -> Endpoints:
        fields: dict[str, Any] = {}
        for running in list(self._running.values()):
            fields.update(running.fields)
        return dataclasses.replace(Endpoints(), **fields)

    @property
    def sources(self) -> dict[ServerName, str]:
        """How each available server was found, for people."""
        return {name: self._running[name].source for name in SERVERS if name in self._running}

    def stop(self) -> None:
        """End what was started here, in parallel. May be called again."""
        self._stopping.set()
        with ThreadPoolExecutor(len(SERVERS), thread_name_prefix="devstack") as threads:
            for future in [threads.submit(self._end, name) for name in SERVERS]:
                future.result()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _end(self, name: ServerName) -> None:
        with self._starting[name]:  # a start under way notices first that nobody waits for it
            running = self._running.pop(name, None)
            if running is not None:
                running.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _find(self, name: ServerName) -> Running:
        return given.find(name, self._environ) or self._start_container(name) or self._start_process(name)

    def _start_container(self, name: ServerName) -> Running | None:
        if not engine.answers():
            return None
        from devstack import containers  # late, because its library takes half a second to import

        return containers.start(name, self._folder(name), self._sftp_root)

    def _start_process(self, name: ServerName) -> Running:
        folder = self._folder(name)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            try:
                match name:
                    case "postgres":
                        return postgres.start(folder)
                    case "rabbitmq":
                        return rabbitmq.start(folder)
                    case "s3":
                        return s3.start(folder)
                    case "sshd":
                        return sshd.start(folder, self._sftp_root)
            except ServerFailed as failure:
                if not failure.port_was_taken or attempt == _PORT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _folder(self, name: ServerName) -> Folder:
        path = self._data_dir / name
        path.mkdir(exist_ok=True)
        return Folder(path, durable=self._durable, lock_fd=self._lock_fd, stopping=self._stopping)


def start(names: Iterable[ServerName], data_dir: Path, *, durable: bool, sftp_root: Path | None = None) -> Stack:
    """A `Stack` with these servers answering. Raises `ServerFailed`, with nothing left running."""
    stack = Stack(data_dir, durable=durable, sftp_root=sftp_root)
    try:
        stack.need(*names)
    except BaseException:
        stack.stop()
        raise
    return stack


def _lock(data_dir: Path) -> int:
    """Take the folder for us alone. The lock lives until the last process below it has ended, even if we are killed."""
    data_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise ServerFailed(f"{data_dir} is in use by another run") from None
            time.sleep(0.05)
        else:
            return fd
