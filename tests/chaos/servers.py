"""Servers of the rig's own, which a test may kill, freeze, wipe and start again at the same address.

Their data is durable, as in production: what was confirmed or committed before a SIGKILL must be there after it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from devstack import SERVERS, Endpoints, ServerName, postgres, rabbitmq, s3, sshd
from devstack.guarded import GuardedProcess
from devstack.local import Folder, Running, ServerFailed
from devstack.ports import S3_GRPC_OFFSET, free_ports

_PORTS: dict[ServerName, int] = {"rabbitmq": 5, "postgres": 1, "s3": 5, "sshd": 1}
_ATTEMPTS = 4


@dataclass
class OwnServer:
    """One server in its folder, always on the same ports."""

    name: ServerName
    folder: Folder
    launch: Callable[..., Running]
    ports: tuple[int, ...] = ()
    running: Running | None = None

    @property
    def process(self) -> GuardedProcess:
        assert self.running is not None
        assert self.running.process is not None
        return self.running.process

    def start(self) -> None:
        """Return when it answers; where it was before, if it was there before."""
        for attempt in range(1, _ATTEMPTS + 1):
            ports = self.ports or free_ports(_PORTS[self.name], also=S3_GRPC_OFFSET if self.name == "s3" else 0)
            try:
                self.running = self.launch(self.folder, ports=ports)
            except ServerFailed as failure:
                if self.ports or not failure.port_was_taken or attempt == _ATTEMPTS:
                    raise
            else:
                self.ports = ports
                return

    def kill(self) -> None:
        """SIGKILL to all of it; nothing is written any more."""
        for process in tree(self.process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()

    def control(self, *arguments: str) -> str:
        """Have RabbitMQ do this, as its administrator."""
        assert self.name == "rabbitmq"
        return rabbitmq.control(self.folder, self.ports, *arguments)

    def wipe(self) -> None:
        """Lose all that it ever stored; to be called while it is down."""
        assert self.name == "rabbitmq"
        shutil.rmtree(self.folder.path / "mnesia")


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """A disk of this size at `path`, which is made. Skips the test where nobody may mount one."""
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk has to be mounted, which needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Nothing more fits on this disk."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65_536))
                file.flush()
        yield
    finally:
        ballast.unlink()


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process and all below it, stopped; they go on afterwards, whatever happens."""
    stopped = [process.pid for process in tree(pid)]
    try:
        for one in stopped:
            os.kill(one, signal.SIGSTOP)
        yield
    finally:
        for one in reversed(stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


@dataclass
class OwnServers:
    """All four of one rig."""

    folder: Path
    servers: dict[ServerName, OwnServer] = field(default_factory=dict)

    def __getitem__(self, name: ServerName) -> OwnServer:
        return self.servers[name]

    @property
    def endpoints(self) -> Endpoints:
        fields = {
            name: value for one in self.servers.values() if one.running for name, value in one.running.fields.items()
        }
        return replace(Endpoints(), **fields)

    def start(self) -> None:
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        launches: dict[ServerName, Callable[..., Running]] = {
            "rabbitmq": rabbitmq.start,
            "postgres": postgres.start,
            "s3": s3.start,
            "sshd": partial(_sshd, root=self.folder / "sftp"),
        }
        for name in SERVERS:
            path = self.folder / name
            path.mkdir(exist_ok=True)  # it may be a disk of its own
            folder = Folder(path, durable=True, lock_fd=lock, stopping=threading.Event())
            self.servers[name] = OwnServer(name, folder, launches[name])
        with ThreadPoolExecutor(len(SERVERS)) as threads:
            for started in [threads.submit(one.start) for one in self.servers.values()]:
                started.result()

    def mend(self) -> None:
        """Start again what a test that failed has left dead."""
        for one in self.servers.values():
            if one.process.poll() is not None:
                one.start()

    def close(self) -> None:
        """Kill whatever runs."""
        for one in self.servers.values():
            if one.running is not None:
                one.kill()


def _sshd(folder: Folder, *, ports: tuple[int, ...], root: Path) -> Running:
    return sshd.start(folder, root, ports=ports)


@contextmanager
def own_servers(folder: Path) -> Iterator[OwnServers]:
    """Started; killed at the end."""
    servers = OwnServers(folder)
    try:
        servers.start()
        yield servers
    finally:
        servers.close()
