"""What `make bench-ingest` measures on: an org, its source on a real sshd, its generations, the service as it runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import psutil

from bench.cpu import others_cpu_s
from bench.ingest_files import GENERATION_COLUMNS, MESSAGES, Files, Maker
from devstack import Endpoints
from devstack.processes import supervise
from devstack.seeds import INSERT_ORG, INSERT_TEMPLATE
from devstack.services import Running, environment, services
from shared.crypto import KeyRing
from shared.schemas.ids import generation_day

ROOT = Path(__file__).parents[1]
VARIANTS = 4
_LOOK_EVERY_S = 0.05
_GIVE_UP_S = 3600.0
_QUIET_LOOKS = 20
# Nothing here waits for a file to be stable: what is measured begins when a file is queued.
_QUICK_LISTINGS = {"ingest_stable_s": "0.2", "ingest_tick_s": "0.2", "ingest_count_s": "86400"}

INSERT_MESSAGE = "INSERT INTO flow_messages VALUES ($1, 'WFzxH9', 'Welcome', 'live', $2, $3, 'Mail', 120, $4)"
INSERT_SOURCE = """
    INSERT INTO sources (source_id, org_id, name, host, port, username, path, pattern, host_key, sealed_key, poll_s)
    VALUES ($1, $2, 'bench', $3, $4, $5, $6, '*.csv', $7, $8, 5)
"""
SELECT_STATES = """
    SELECT count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state IN ('held', 'failed')) AS lost,
        min(queued_at) AS began, max(error) AS error
    FROM ingest_files WHERE org_id = $1 AND path LIKE $2
"""
SELECT_BUSY = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state <> 'idle' AND application_name = 'ingest')"
SELECT_FOUND = """
    SELECT (SELECT count(*) FROM events WHERE org_id = $1) AS events,
        (SELECT count(*) FROM sends WHERE org_id = $1) AS sends,
        (SELECT count(*) FROM sends WHERE org_id = $1 AND attribution = 'message' AND delivered) AS attributed,
        (SELECT coalesce(sum(delivered), 0)::bigint FROM rollups WHERE org_id = $1) AS rolled_up
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One load: rows of its files, seconds from the first queued file until the last was done, memory in MB, processor
    seconds of the service and of PostgreSQL."""

    rows: int
    seconds: float
    rss_mb: float
    cpu_s: float
    postgres_cpu_s: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class Stage:
    """One org on the running service."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", org_id: UUID, folder: Path, pid: int) -> None:
        self._connection, self._org_id, self._folder = connection, org_id, folder
        self._process = psutil.Process(pid)
        self._events = self._sends = self._attributed = 0

    async def load(self, files: Sequence[Files]) -> Measured:
        """Lay the files into the folder, oldest first, and wait until all are done. Raises RuntimeError when the
        database then does not hold exactly what was made."""
        await self.quiet()
        paths = [path for one in files for path in one.paths]
        for path in paths:
            path.rename(self._folder / path.name)
        try:
            measured = await self._wait(paths, sum(one.rows for one in files))
        finally:
            for path in paths:
                (self._folder / path.name).unlink()
        for one in files:
            self._events += one.events
            self._sends += one.sends
            self._attributed += one.attributed
        await self._demand_all()
        return measured

    async def quiet(self) -> None:
        """Wait until the service has counted what the seeds raised: that is work of its own, and not measured."""
        looks = 0
        while looks < _QUIET_LOOKS:
            looks = 0 if await self._connection.fetchval(SELECT_BUSY) else looks + 1
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _wait(self, paths: Sequence[Path], rows: int) -> Measured:
        pattern = f"%/{paths[0].name.split('-')[0]}-%"
        gives_up_at = time.monotonic() + _GIVE_UP_S
        rss_mb = 0.0
        cpu_s, postgres_cpu_s = self._cpu_s()
        while time.monotonic() < gives_up_at:
            rss_mb = max(rss_mb, self._process.memory_info().rss / 1e6)
            row = await self._connection.fetchrow(SELECT_STATES, self._org_id, pattern)
            assert row is not None  # a count
            if row["lost"]:
                raise RuntimeError(f"a file was not loaded: {row['error']}")
            if row["done"] == len(paths):
                seconds, (ours_s, postgres_s) = (datetime.now(UTC) - row["began"]).total_seconds(), self._cpu_s()
                return Measured(rows, seconds, rss_mb, ours_s - cpu_s, postgres_s - postgres_cpu_s)
            await asyncio.sleep(_LOOK_EVERY_S)
        raise RuntimeError("the files were not loaded in time")

    async def _demand_all(self) -> None:
        found = await self._connection.fetchrow(SELECT_FOUND, self._org_id)
        made = (self._events, self._sends, self._attributed, self._attributed)
        if found is None or tuple(found) != made:
            raise RuntimeError(f"events, sends, attributed, rolled up are {tuple(found or ())}, not {made}")

    def _cpu_s(self) -> tuple[float, float]:
        """So far, of the service and of PostgreSQL, where it counts the looks of this benchmark too."""
        return float(sum(self._process.cpu_times()[:2])), others_cpu_s([self._process.pid])["postgres"]


class Shop:
    """An org before anything happened, and the files made for it."""

    def __init__(self, database_url: str, servers: Endpoints, folder: Path) -> None:
        self._url, self._servers, self._folder = database_url, servers, folder
        self.org_id, self._copy_ids = uuid4(), [uuid4() for _ in range(VARIANTS)]
        self.inbox = Path(servers.sftp_root) / self.org_id.hex
        self.env: dict[str, str] = {}

    async def seed(self) -> None:
        """The org, its template and messages, its source."""
        now = datetime.now(UTC)
        self.inbox.mkdir()
        servers = self._servers
        self.env = environment(
            database_url=self._url, amqp_url=servers.amqp_url, log_level="WARNING",
            ingest_spool_dir=str(self._folder), **_QUICK_LISTINGS,
        )  # fmt: skip
        source_id = uuid4()
        key = await asyncio.to_thread(Path(servers.sftp_client_key_path).read_text)
        sealed = KeyRing(self.env["JUSTAI_SEAL_KEYS"]).seal(key, f"{self.org_id}/source/{source_id}")
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(INSERT_ORG, self.org_id, "bench", now)
            await connection.execute(INSERT_TEMPLATE, self.org_id, now)
            for action_id, message_id in MESSAGES.items():
                await connection.execute(INSERT_MESSAGE, self.org_id, action_id, message_id, now)
            await connection.execute(
                INSERT_SOURCE, source_id, self.org_id, servers.sftp_host, servers.sftp_port, servers.sftp_user,
                f"{servers.sftp_remote_root}/{self.org_id.hex}", servers.sftp_host_key, sealed,
            )  # fmt: skip
        finally:
            await connection.close()

    async def make(self, maker: Maker, name: str, rows: int, files: int, start: datetime) -> Files:
        """Files beside the source's folder, and the generations that their emails showed."""
        made = await asyncio.to_thread(maker.make, self._folder, name, rows, files, start)
        generations = self._folder / "generations.csv"
        await asyncio.to_thread(maker.generations, generations, self.org_id, self._copy_ids)
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute("SET timezone = 'UTC'")
            await connection.execute("SELECT ensure_partition('generations', $1)", generation_day(start))
            await connection.copy_to_table(
                "generations", source=generations, columns=GENERATION_COLUMNS, format="csv", timeout=600
            )
            await connection.execute("ANALYZE generations", timeout=600)
        finally:
            await connection.close()
        generations.unlink()
        return made

    @asynccontextmanager
    async def running(self, *others: str) -> AsyncIterator[tuple[Stage, Running]]:
        """Ingest, and other services beside it, as they ship."""
        started = services(self.env, ("ingest", *others))
        async with supervise(started.commands, log_dir=self._folder / "logs", echo=print, cwd=ROOT) as processes:
            connection = await asyncpg.connect(self._url)
            try:
                yield Stage(connection, self.org_id, self.inbox, processes.pids["ingest"]), started
            finally:
                await connection.close()
