"""Ingest on real servers, driven step by step on a frozen clock."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from services.ingest.handler import Deps, ingest_files
from services.ingest.loading.staging import Stagings
from services.ingest.reading.text import Limits
from services.ingest.records import Source
from services.ingest.sources.folders import Folders
from services.ingest.sources.poller import Pace, Poller
from services.ingest.sources.sftp import Servers
from services.ingest.sources.store import Sources
from services.ingest.store import Ledger
from shared.api_keys import Peppers
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from shared.db.pool import Database
from shared.hosts import Hosts
from shared.schemas.ids import generation_day
from shared.schemas.jobs import IngestFileJob
from tests.component.ingest.given import SENT, Row, nested_csv

RING = "test:" + "A" * 43 + "="
PEPPER = "1:" + "A" * 43 + "="
STABLE_S = 60.0
HERE = Hosts(allow_private=True)


@dataclass
class Server:
    """What an SFTP client must know."""

    host: str
    port: int
    user: str
    host_key: str
    private_key: str


@dataclass
class Rig:
    """One org with its sources; `settle` is what a quiet minute does."""

    database: Database
    org_id: UUID
    clock: FrozenClock = field(default_factory=lambda: FrozenClock(SENT + timedelta(hours=2)))
    queued: list[IngestFileJob] = field(default_factory=list)
    outcomes: list[BaseException | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        servers = Servers(KeyRing(RING), connect_timeout_s=10, read_timeout_s=10, hosts=HERE)
        self.sources = Sources(self.database)
        self.ledger = Ledger(self.database, lease=timedelta(minutes=5), max_attempts=3)
        self.deps = Deps(
            ledger=self.ledger,
            sources=self.sources,
            servers=servers,
            stagings=Stagings(self.database, window=timedelta(days=1), peppers=Peppers(PEPPER)),
            clock=self.clock,
            new_id=uuid4,
            lease_s=300,
            limits=Limits(slack_bytes=1 << 20),
            max_file_bytes=1 << 30,
            spool_dir=None,
            queue_some=self._queue_some,
        )
        self.use_servers(servers)

    def use_servers(self, servers: Servers | Folders) -> None:
        self.with_deps(servers=servers)
        pace = Pace(tick_s=5, stable=timedelta(seconds=STABLE_S), requeue=timedelta(hours=1), parallel=1)
        self.poller = Poller(self.sources, self.ledger, servers, self._publish, self.clock, uuid4, pace)

    def with_deps(self, **changes: Any) -> None:
        self.deps = replace(self.deps, **changes)

    async def _publish(self, job: IngestFileJob) -> None:
        self.queued.append(job)

    async def _queue_some(self, source: Source, now: datetime) -> int:
        return await self.poller.queue_some(source, now)

    async def add_org(self, slug: str = "shop") -> None:
        await self.run("INSERT INTO orgs VALUES ($1, $2, $2, $3)", self.org_id, slug, SENT)

    def seal(self, server: Server, source_id: UUID) -> str:
        """The key for a server as the source's row holds it."""
        return KeyRing(RING).seal(server.private_key, f"{self.org_id}/source/{source_id}")

    async def add_source(self, server: Server, path: str, *, pattern: str = "*", name: str = "klaviyo") -> UUID:
        source_id = uuid4()
        sealed = self.seal(server, source_id)
        await self.run(
            "INSERT INTO sources (source_id, org_id, name, host, port, username, path, pattern, host_key, sealed_key)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            source_id, self.org_id, name, server.host, server.port, server.user, path, pattern, server.host_key, sealed,
        )  # fmt: skip
        return source_id

    async def add_generation(
        self,
        profile_id: str = "P1",
        *,
        accepted_at: datetime = SENT - timedelta(minutes=2),
        written_for: str = "welcome.FLOW1.ACT1",
        copy_id: UUID | None = None,
        cell: str = "",
        delay: timedelta = timedelta(minutes=2),
        decision: str | None = None,
    ) -> UUID:
        """Without a copy it is a control, unless `decision` says something else."""
        generation_id, day = uuid4(), generation_day(accepted_at)
        await self.run("SELECT ensure_partition('generations', $1)", day)
        await self.run(
            "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at,"
            " deadline_at, clean_at, decision, reason, copy_id, property_prefix, written_for, cell)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'test', $11, 'jai', $12, $13)",
            day, generation_id, self.org_id, written_for.split(".")[0], profile_id, f"{profile_id}.FLOW1.ACT1",
            accepted_at, accepted_at + delay, accepted_at + delay + timedelta(minutes=15),
            decision or ("treatment" if copy_id else "control"), copy_id, written_for, cell,
        )  # fmt: skip
        return generation_id

    async def add_flow_message(self, action_id: str, message_id: str, *, flow_id: str = "FLOW1") -> None:
        await self.run(
            "INSERT INTO flow_messages VALUES ($1, $2, 'Welcome', 'live', $3, $4, 'Mail 1', 120, $5)",
            self.org_id, flow_id, action_id, message_id, SENT,
        )  # fmt: skip

    async def poll(self) -> None:
        while await self.poller.poll_one():
            pass

    async def work(self) -> None:
        """Do what was queued, and what is queued by that; outcomes are kept."""
        while self.queued:
            jobs, self.queued = self.queued, []
            for job in jobs:
                self.outcomes += await ingest_files([job], self.deps)

    async def list_twice(self) -> None:
        """Two listings a stable time apart."""
        for _ in range(2):
            self.clock.advance(STABLE_S)
            await self.poll()

    async def settle(self) -> None:
        """Two listings a stable time apart, then the files."""
        await self.list_twice()
        await self.work()

    async def run(self, sql: str, *arguments: Any) -> None:
        async with self.database.connection() as connection:
            await connection.execute(sql, *arguments)

    async def rows(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(sql, *arguments)]

    async def one(self, sql: str, *arguments: Any) -> dict[str, Any]:
        (row,) = await self.rows(sql, *arguments)
        return row

    async def event_ids(self) -> list[str]:
        """Sorted, each as often as it is stored."""
        return [row["event_id"] for row in await self.rows("SELECT event_id FROM events ORDER BY event_id")]

    async def files(self) -> dict[str, str]:
        """State by file name; of several versions the last one first seen."""
        found = await self.rows("SELECT path, state FROM ingest_files ORDER BY first_seen_at, mtime")
        return {Path(row["path"]).name: row["state"] for row in found}

    async def job_of(self, name: str) -> IngestFileJob:
        """As a person has a file loaded again; its newest version."""
        found = await self.rows(
            "SELECT org_id, source_id, file_id FROM ingest_files WHERE path LIKE '%' || $1"
            " ORDER BY first_seen_at, mtime",
            name,
        )
        return IngestFileJob(**found[-1])

    async def send(self, transmission_id: str) -> dict[str, Any]:
        return await self.one("SELECT * FROM sends WHERE transmission_id = $1", transmission_id)


async def load(rig: Rig, folder: Path, *rows: Row, name: str = "events.csv") -> None:
    """All of a file, without a fault."""
    (folder / name).write_bytes(nested_csv(rows))
    await rig.settle()
    assert rig.outcomes[-1:] == [None]
    assert (await rig.files())[name] == "done"
