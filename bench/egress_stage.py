"""What `make bench-egress` measures on: an org whose people got emails of a usual size, its bucket, and the exporter as
it runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import psutil
from aiobotocore.session import get_session

from bench.copy import email, people
from devstack import Endpoints
from devstack.processes import Processes, supervise
from devstack.seeds import INSERT_ORG, INSERT_TEMPLATE
from devstack.services import environment, services
from services.generator.render import Renderer
from shared.crypto import KeyRing
from shared.messaging.publisher import open_publisher
from shared.messaging.topology import EXPORT_HOUR
from shared.schemas.copy import VariantSource
from shared.schemas.ids import generation_day
from shared.schemas.jobs import ExportHourJob
from shared.vars_codec import encode_vars

ROOT = Path(__file__).parents[1]
SLUG, TEMPLATE = "bench", "welcome"
BODY_BYTES, VARIANTS, PEOPLE = 17_000, 8, 2_000
"""Each of so many people is rendered once in each variant; then the texts come again, further apart than zstd looks."""
_LOOK_EVERY_S = 0.02
_GIVE_UP_S = 3600.0
_NEVER_S = "99999999"

INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, $2, 'welcome', $3, 'approved', $4, $4)
"""
INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, 1, $3, $4, $5, $6)
"""
INSERT_TARGET = """
    INSERT INTO export_targets
        (org_id, bucket, endpoint_url, access_key, sealed_secret, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $6)
"""
SELECT_STATE = "SELECT state, error, rows, bytes, exported_at FROM export_hours WHERE org_id = $1 AND hour = $2"
GENERATION_COLUMNS = (
    "day", "generation_id", "org_id", "template_id", "user_id", "tracking_id", "accepted_at", "deadline_at",
    "clean_at", "decision", "reason", "copy_id", "variant_version", "property_prefix", "written_for", "propensity",
    "attrs", "vars",
)  # fmt: skip
_CITIES = ("Kyiv", "São Paulo", "Leipzig", "Austin, TX")
_LIKES = ("tea", "coffee", "trail shoes", "wool", "cocoa")


@dataclass(frozen=True, slots=True)
class Measured:
    """One export: seconds from the asking until the ledger told that it is done, CPU seconds of the exporter, most
    memory in MB."""

    rows: int
    bytes: int
    seconds: float
    cpu_s: float
    rss_mb: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class Shop:
    """One org: a template of eight variants, whose texts are stored as the generator stores them."""

    def __init__(self, database_url: str, servers: Endpoints, bucket: str, people: int = PEOPLE) -> None:
        self.database_url, self.servers, self.bucket = database_url, servers, bucket
        self.org_id, self._people = uuid4(), people
        self._texts: list[tuple[UUID, bytes]] = []
        self._told = 0

    async def seed(self, seal_keys: str) -> None:
        """The org, its variants and its target; then the texts, rendered and packed once."""
        now = datetime.now(UTC)
        sources = [email(UUID(int=number + 1), BODY_BYTES) for number in range(VARIANTS)]
        sealed = KeyRing(seal_keys).seal(self.servers.s3_secret_key, f"{self.org_id}/export")
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(INSERT_ORG, self.org_id, SLUG, now)
            await connection.execute(INSERT_TEMPLATE, self.org_id, now)
            for number, one in enumerate(sources):
                await connection.execute(INSERT_VARIANT, self.org_id, one.copy_id, f"variant {number}", now)
                await connection.execute(
                    INSERT_VERSION, self.org_id, one.copy_id, one.subject, one.preheader, one.body, now
                )
            await connection.execute(
                INSERT_TARGET, self.org_id, self.bucket, self.servers.s3_endpoint, self.servers.s3_access_key,
                sealed, now,
            )  # fmt: skip
        finally:
            await connection.close()
        self._texts = await asyncio.to_thread(_texts, sources, self._people)

    async def say(self, hour: datetime, rows: int) -> None:
        """So many generations, spread over an hour."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute("SELECT ensure_partition('generations', $1)", generation_day(hour))
            await connection.copy_records_to_table(
                "generations", records=self._rows(hour, rows), columns=GENERATION_COLUMNS, timeout=_GIVE_UP_S
            )
        finally:
            await connection.close()

    async def settle(self) -> None:
        """As autovacuum leaves a table that has come to rest."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute("VACUUM (ANALYZE) generations", timeout=_GIVE_UP_S)
        finally:
            await connection.close()

    def _rows(self, hour: datetime, rows: int) -> Iterator[tuple[Any, ...]]:
        rng = Random(self._told)
        for number in range(rows):
            self._told += 1
            person = f"01K{rng.getrandbits(115):023X}"
            at = hour + timedelta(microseconds=3_599_999_999 * number // rows)
            copy_id, text = self._texts[rng.randrange(VARIANTS) * self._people + self._told % self._people]
            attrs = {
                "city": _CITIES[rng.randrange(4)], "plan": ("gold", "silver")[self._told % 2], "language": "de",
                "persona": f"persona {rng.randrange(40)}", "likes": rng.sample(_LIKES, 2),
                "days": str(self._told % 400),
            }  # fmt: skip
            yield (
                generation_day(at), UUID(int=rng.getrandbits(128)), self.org_id, TEMPLATE, person,
                f"{person}.WFzxH9.TZWDfu", at, at + timedelta(seconds=120), at + timedelta(seconds=1020), "treatment",
                "uniform", copy_id, 1, "jai", "welcome", 0.125, orjson.dumps(attrs).decode(), text,
            )  # fmt: skip


def _texts(sources: Sequence[VariantSource], count: int) -> list[tuple[UUID, bytes]]:
    renderer, fields = Renderer(), people(count)
    return [(source.copy_id, encode_vars(renderer.render(source, one), source)) for source in sources for one in fields]


class Stage:
    """The exporter as it runs, and the clock on it."""

    def __init__(self, shop: Shop, connection: "asyncpg.Connection[asyncpg.Record]", processes: Processes) -> None:
        self._shop, self._connection, self._processes = shop, connection, processes

    async def export(self, amqp_url: str, hour: datetime) -> Measured:
        """One hour, from its job to the ledger's word that it is done. Raises RuntimeError when it fails."""
        process = psutil.Process(self._processes.pids["egress"])
        async with open_publisher(amqp_url, "bench", EXPORT_HOUR) as publisher:
            job = ExportHourJob(org_id=self._shop.org_id, table="generations", hour=hour, reason="backfill")
            cpu_s, rss_mb, began = _cpu_s(process), 0.0, time.perf_counter()
            await publisher.send_jobs(EXPORT_HOUR, self._shop.org_id, [job])
            while time.perf_counter() - began < _GIVE_UP_S:
                await asyncio.sleep(_LOOK_EVERY_S)
                rss_mb = max(rss_mb, process.memory_info().rss / 1e6)
                row = await self._connection.fetchrow(SELECT_STATE, self._shop.org_id, hour)
                if row and row["error"]:
                    raise RuntimeError(f"the hour was not exported: {row['error']}")
                if row and row["state"] == "exported":
                    seconds = time.perf_counter() - began
                    return Measured(row["rows"], row["bytes"], seconds, _cpu_s(process) - cpu_s, rss_mb)
        raise RuntimeError("the hour was not exported in time")


def _cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


@asynccontextmanager
async def running(shop: Shop, env: dict[str, str], folder: Path) -> AsyncIterator[Stage]:
    """The service, one process."""
    started = services(env, ("egress",))
    async with supervise(started.commands, log_dir=folder / "logs", echo=print, cwd=ROOT) as processes:
        connection = await asyncpg.connect(shop.database_url)
        try:
            yield Stage(shop, connection, processes)
        finally:
            await connection.close()


def exporter_environment(database_url: str, amqp_url: str, folder: Path, **more: str) -> dict[str, str]:
    """Its settings, with fresh keys. No hour has settled, so nothing is scheduled: what is measured begins with a
    job."""
    settings = {"log_level": "WARNING", "egress_spool_dir": str(folder), "egress_settle_s": _NEVER_S} | more
    return environment(database_url=database_url, amqp_url=amqp_url, **settings)


@asynccontextmanager
async def client(servers: Endpoints) -> AsyncIterator[Any]:
    """A client of the S3 server."""
    async with get_session().create_client(
        "s3", endpoint_url=servers.s3_endpoint, aws_access_key_id=servers.s3_access_key,
        aws_secret_access_key=servers.s3_secret_key, region_name="us-east-1",
    ) as s3:  # fmt: skip
        yield s3
