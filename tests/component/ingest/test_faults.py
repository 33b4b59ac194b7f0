"""A real OpenSSH server that dies or hangs, files that change in its hands, and a disk that is full: afterwards the
rows are those of the final file, each once."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from devstack import local, sshd
from services.ingest.records import Listed, Source
from services.ingest.sources import sftp
from services.ingest.store import Ledger
from shared.crypto import KeyRing
from shared.hosts import Hosts
from tests.component.ingest.given import Mail, Row, nested_csv
from tests.component.ingest.rig import RING, Rig, Server
from tests.support.full_disk import files_end_at
from tests.support.measured import say

# Larger than some reads, of few rows: what happens in the middle is the matter, not how many there are.
ROWS = [Mail(f"L{number}").received(Subject="x" * 20_000) for number in range(200)]
OTHERS = [Mail(f"M{number}").received(Subject="y" * 20_000) for number in range(150)]
REQUEUED_S = 2 * 3600


class OpenSsh:
    """A private sshd; its sessions are its descendants."""

    def __init__(self, base: Path, root: Path) -> None:
        base.mkdir()
        lock = os.open(base / "lock", os.O_CREAT | os.O_RDWR)
        self._folder = local.Folder(base, durable=False, lock_fd=lock, stopping=threading.Event())
        self._root, self._lock = root, lock
        self.start()

    def start(self) -> None:
        running = sshd.start(self._folder, self._root)
        self._stop, self._fields = running.stop, running.fields
        self._pid: int = running.stop.__self__.pid  # type: ignore[attr-defined]  # a method of the guarded process

    def start_again(self) -> None:
        self._stop()  # what is left of the one that died
        self.start()

    def server(self) -> Server:
        at = self._fields
        key = Path(at["sftp_client_key_path"]).read_text()
        return Server(at["sftp_host"], at["sftp_port"], at["sftp_user"], at["sftp_host_key"], key)

    def signal(self, number: signal.Signals) -> None:
        """To the server and all its sessions, which would survive it."""
        for pid in _family(self._pid):
            with suppress(ProcessLookupError):  # a session ends by itself when its server is killed
                os.kill(pid, number)

    def close(self) -> None:
        self._stop()
        os.close(self._lock)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


@dataclass
class Watched(sftp.Servers):
    """Calls `on_block` with how much of a file has come, after each block of it."""

    inner: sftp.Servers
    on_block: Callable[[int], None] | None = None

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[Any]:
        async with self.inner.open(source) as folder:
            yield _WatchedFolder(folder, self)


class _WatchedFolder:
    def __init__(self, inner: sftp.Folder, watched: Watched) -> None:
        self._inner, self._watched = inner, watched
        self.list = inner.list

    async def look(self, path: str) -> Listed:
        return await self._inner.look(path)

    async def read(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]:
        come = 0
        async for block in self._inner.read(path, at_most):
            yield block
            come += len(block)
            if self._watched.on_block is not None:
                self._watched.on_block(come)


@pytest.fixture
def openssh(tmp_path: Path) -> Iterator[OpenSsh]:
    server = OpenSsh(tmp_path / "sshd", tmp_path / "files")
    yield server
    server.close()


@pytest.fixture
def watched() -> Watched:
    return Watched(sftp.Servers(KeyRing(RING), connect_timeout_s=5, read_timeout_s=5, hosts=Hosts(allow_private=True)))


@pytest.fixture
async def faulty(bare_rig: Rig, openssh: OpenSsh, watched: Watched, tmp_path: Path) -> Rig:
    await bare_rig.add_source(openssh.server(), str(tmp_path / "files"))
    bare_rig.ledger = Ledger(bare_rig.database, lease=timedelta(minutes=5), max_attempts=20)
    bare_rig.with_deps(ledger=bare_rig.ledger)
    bare_rig.use_servers(watched)
    return bare_rig


def put(path: Path, rows: Sequence[Row]) -> None:
    path.write_bytes(nested_csv(rows))


def half_way(happens: Callable[[], None]) -> Callable[[int], None]:
    """Once, when about half of ROWS has come."""
    done = False

    def on_block(come: int) -> None:
        nonlocal done
        if not done and come > 20_000 * len(ROWS) // 2:
            done = True
            happens()

    return on_block


async def settle(rig: Rig) -> None:
    """Until all that was interrupted has been tried again."""
    rig.clock.advance(REQUEUED_S)
    for _ in range(2):
        await rig.settle()


def ids(rows: Sequence[Row]) -> list[str]:
    return sorted(row.event_id for row in rows)


async def test_a_server_killed_while_we_read_gives_its_file_when_it_is_back(
    faulty: Rig, openssh: OpenSsh, watched: Watched, tmp_path: Path
) -> None:
    put(tmp_path / "files/a.csv", ROWS)
    await faulty.list_twice()
    watched.on_block = half_way(lambda: openssh.signal(signal.SIGKILL))

    await faulty.work()
    assert await faulty.event_ids() == []
    openssh.start_again()
    await faulty.run("UPDATE sources SET port = $1", openssh.server().port)
    await settle(faulty)

    assert getattr(faulty.outcomes[0], "reason", None) == "read_failed"
    assert await faulty.event_ids() == ids(ROWS)


async def test_a_server_frozen_while_we_read_is_given_up_and_gives_its_file_once_it_goes_on(
    faulty: Rig, openssh: OpenSsh, watched: Watched, tmp_path: Path
) -> None:
    put(tmp_path / "files/a.csv", ROWS)
    await faulty.list_twice()
    watched.on_block = half_way(lambda: openssh.signal(signal.SIGSTOP))
    began_s = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(60):
            await faulty.work()
        say(given_up_s=round(asyncio.get_running_loop().time() - began_s, 1))
        assert await faulty.event_ids() == []
    finally:
        openssh.signal(signal.SIGCONT)
    await settle(faulty)

    assert getattr(faulty.outcomes[0], "reason", None) == "read_timeout"
    assert await faulty.event_ids() == ids(ROWS)


FINAL = {
    "truncated": ROWS[:20], "grown": [*ROWS, *OTHERS], "replaced": OTHERS, "rewritten": OTHERS, "deleted": [],
    "deleted and put anew": OTHERS, "rewritten to the same size": ROWS,
}  # fmt: skip


@pytest.mark.parametrize("how", FINAL)
@pytest.mark.parametrize("when", ["at first", "of a loaded file"])
async def test_a_file_that_changes_while_it_is_read_leaves_the_rows_of_its_last_state(
    faulty: Rig, watched: Watched, tmp_path: Path, how: str, when: str
) -> None:
    path, beside = tmp_path / "files/a.csv", tmp_path / "files/b.tmp"
    before: list[Row] = []
    if when == "of a loaded file":
        before = [*OTHERS[:10], *ROWS[:10], Mail("OLD").received()]
        put(path, before)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        await settle(faulty)
    put(path, ROWS)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    await faulty.list_twice()

    def change() -> None:
        match how:
            case "truncated":
                os.truncate(path, len(nested_csv(ROWS[:20])))
            case "grown":
                with path.open("ab") as file:
                    file.write(nested_csv(OTHERS).partition(b"\n")[2])
            case "replaced":
                put(beside, OTHERS)
                beside.rename(path)
            case "deleted":
                path.unlink()
            case "deleted and put anew":
                path.unlink()
                put(path, OTHERS)
            case "rewritten":
                put(path, OTHERS)
            case "rewritten to the same size":
                path.write_bytes(nested_csv(ROWS).replace(b"Received Email", b"RECEIVED EMAIL"))

    watched.on_block = half_way(change)
    await faulty.work()
    assert await faulty.event_ids() == ids(before)
    await settle(faulty)

    say(how=how, when=when, rows=len(await faulty.event_ids()))
    assert await faulty.event_ids() == ids(FINAL[how] or before)  # a file that is gone takes nothing back


async def test_a_rewrite_within_the_second_and_of_the_same_size_is_what_is_read(faulty: Rig, tmp_path: Path) -> None:
    path = tmp_path / "files/a.csv"
    old, new = [Mail("T1").received()], [Mail("T2").received()]
    for rows in (old, new):
        put(path, rows)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        await faulty.poll()
        faulty.clock.advance(0.4)
        await faulty.run("UPDATE sources SET next_poll_at = NULL")
    assert len(nested_csv(old)) == len(nested_csv(new))

    await faulty.settle()

    assert await faulty.event_ids() == ids(new)


async def test_a_disk_that_is_full_for_a_small_file_says_so_too(faulty: Rig, tmp_path: Path) -> None:
    put(tmp_path / "files/a.csv", OTHERS[:1])
    faulty.with_deps(spool_dir=tmp_path)
    await faulty.list_twice()
    jobs = list(faulty.queued)

    with files_end_at(64):  # what is buffered is written when all of it has come
        await faulty.work()
    failed = await faulty.one("SELECT state, error FROM ingest_files")
    faulty.queued = jobs
    await faulty.work()

    assert [getattr(outcome, "reason", None) for outcome in faulty.outcomes] == ["spool_full", None]
    assert (failed["state"], "the spool folder does not take the file" in failed["error"]) == ("queued", True)
    assert await faulty.event_ids() == ids(OTHERS[:1])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("megabytes", [10, pytest.param(100, marks=pytest.mark.long)])
async def test_a_disk_that_is_full_at_any_tenth_of_a_large_file_leaves_nothing_and_then_all(
    faulty: Rig, tmp_path: Path, megabytes: int
) -> None:
    rows = [Mail(f"H{number}").received(Subject="z" * 500_000) for number in range(2 * megabytes)]
    path = tmp_path / "files/a.csv"
    put(path, rows)
    size = path.stat().st_size
    assert size > megabytes * 1_000_000
    await faulty.list_twice()
    jobs = list(faulty.queued)

    for tenth in range(10):
        faulty.queued = list(jobs)
        with files_end_at(size * tenth // 10):
            await faulty.work()
        assert getattr(faulty.outcomes[-1], "reason", None) == "spool_full"
        assert await faulty.event_ids() == []
    faulty.queued = list(jobs)
    await faulty.work()

    say(megabytes=megabytes, rows=len(await faulty.event_ids()))
    assert faulty.outcomes[-1] is None
    assert await faulty.event_ids() == ids(rows)
