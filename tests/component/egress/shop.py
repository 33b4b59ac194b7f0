"""Orgs with generations in PostgreSQL, and what lies in their buckets."""

import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pyarrow.parquet as pq
from aiobotocore.session import get_session

from devstack import Endpoints
from services.egress.handler import Deps
from services.egress.rows import Reader
from services.egress.s3 import S3, S3Options
from services.egress.store import Store
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from shared.db.pool import Database, open_database
from shared.exports import MARK_HOURS, Table
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.jobs import ExportHourJob
from shared.vars_codec import encode_vars

SEAL_KEYS = "k1:" + "A" * 43 + "="
HOUR = datetime(2026, 11, 23, 10, tzinfo=UTC)
KEYS = KeyRing(SEAL_KEYS)

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, $2, $3)"

INSERT_TARGET = """
    INSERT INTO export_targets
        (org_id, bucket, prefix, endpoint_url, access_key, sealed_secret, cadence, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
"""

INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, 'welcome', 'Welcome', 'active', $2, $2)
"""

INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, created_at, updated_at)
    VALUES ($1, $2, 'welcome', $3, 'approved', $4, $4)
"""

INSERT_VERSION = """
    INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

INSERT_GENERATIONS = """
    INSERT INTO generations
        (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at, clean_at, decision,
         reason, copy_id, variant_version, property_prefix, written_for, attrs, vars)
    SELECT (accepted_at AT TIME ZONE 'UTC')::date, generation_id, $1, 'welcome', user_id, tracking_id, accepted_at,
           accepted_at + interval '2 minutes', accepted_at + interval '17 minutes', decision, 'uniform', copy_id,
           1, 'jai', 'welcome', attrs::jsonb, vars
    FROM unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::bytea[])
        AS given (generation_id, accepted_at, user_id, tracking_id, decision, copy_id, attrs, vars)
"""


@dataclass(frozen=True, slots=True)
class Person:
    """One generation to be stored."""

    user_id: str
    accepted_at: datetime
    attrs: Mapping[str, object] = field(default_factory=dict)
    control: bool = False
    preview: str | None = None  # the decision, where it is one


@dataclass
class Shop:
    """One org and what it has said to whom."""

    org_id: UUID
    sources: list[VariantSource]
    exported: list[dict[str, Any]] = field(default_factory=list)  # what the export must hold, in its order

    def record(self, person: Person, copy: Vars, source: VariantSource) -> dict[str, Any]:
        return {
            "event_timestamp": int(person.accepted_at.timestamp()),
            "user_id": person.user_id,
            "tracking_id": f"{person.user_id}.FLOW.ACTION",
            "copy_id": str(source.copy_id),
            "template_id": "welcome",
            "vars": copy._asdict(),
            "attrs": {
                name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
                for name, value in person.attrs.items()
            },
        }


@dataclass
class World:
    """Everything one test needs; times are the frozen clock's."""

    database_url: str
    db: Database
    admin: asyncpg.Connection
    clock: FrozenClock
    deps: Deps
    store: Store
    s3: Any
    bucket: str
    endpoints: Endpoints

    async def shop(self, slug: str = "shop", *, prefix: str = "", bucket: str | None = None, cadence: str = "daily",
                   endpoint_url: str | None = None, secret: str | None = None, **more: object) -> Shop:  # fmt: skip
        """`more`: columns of the target."""
        org_id = uuid4()
        now = self.clock.now()
        await self.admin.execute(INSERT_ORG, org_id, slug, now)
        sealed = KEYS.seal(secret or self.endpoints.s3_secret_key, f"{org_id}/export")
        endpoint = endpoint_url or self.endpoints.s3_endpoint
        async with self.admin.transaction():
            # Without triggers, as a target from before 0045: the shops of a test share the root of its bucket.
            await self.admin.execute("SET LOCAL session_replication_role = replica")
            await self.admin.execute(
                INSERT_TARGET,
                *(org_id, bucket or self.bucket, prefix, endpoint, self.endpoints.s3_access_key, sealed, cadence, now),
            )
        await self.set(org_id, **more)
        await self.admin.execute(INSERT_TEMPLATE, org_id, now)
        sources = []
        for n in range(3):
            text = " ".join(f"word{n}{k}" for k in range(300))
            source = VariantSource(uuid4(), 1, f"Hi {{{{ name }}}} {n}", "", f"<p>{{{{ name }}}} {text}</p>")
            await self.admin.execute(INSERT_VARIANT, org_id, source.copy_id, f"variant {n}", now)
            await self.admin.execute(
                INSERT_VERSION, org_id, source.copy_id, 1, source.subject, source.preheader, source.body, now
            )
            sources.append(source)
        return Shop(org_id, sources)

    async def ask(self, shop: Shop, table: Table, hours: Sequence[datetime]) -> None:
        """These hours are to be exported again, as a backfill asks for them."""
        await self.admin.execute(MARK_HOURS, shop.org_id, table, hours, "backfill", self.clock.now())

    async def set(self, org_id: UUID, **columns: object) -> None:
        """Change the target."""
        if columns:
            said = ", ".join(f"{column} = ${n}" for n, column in enumerate(columns, 2))
            await self.admin.execute(f"UPDATE export_targets SET {said} WHERE org_id = $1", org_id, *columns.values())

    async def say(self, shop: Shop, people: Sequence[Person], connection: asyncpg.Connection | None = None) -> None:
        """Store one generation per person, in one statement, as the generator does."""
        columns: list[list[Any]] = [[] for _ in range(8)]
        for n, person in enumerate(people):
            source = shop.sources[n % len(shop.sources)]
            name = f"<{person.user_id} ü>"
            copy = Vars(source.subject.replace("{{ name }}", name), "", source.body.replace("{{ name }}", name))
            blob = None if person.control else encode_vars(copy, source)
            row = (
                *(uuid4(), person.accepted_at, person.user_id, f"{person.user_id}.FLOW.ACTION"),
                person.preview or ("control" if person.control else "treatment"),
                None if person.control else source.copy_id,
                orjson.dumps(person.attrs).decode(),
                blob,
            )
            for column, value in zip(columns, row, strict=True):
                column.append(value)
            if not person.control and person.preview is None:
                shop.exported.append(shop.record(person, copy, source))
        into = connection or self.admin
        for day in {person.accepted_at.date() for person in people}:
            await self.admin.execute("SELECT ensure_partition('generations', $1)", day)
        await into.execute(INSERT_GENERATIONS, shop.org_id, *columns)

    async def hour(self, shop: Shop, hour: datetime = HOUR) -> asyncpg.Record:
        """The ledger's row."""
        row = await self.admin.fetchrow("SELECT * FROM export_hours WHERE org_id = $1 AND hour = $2", shop.org_id, hour)
        assert row is not None, f"no ledger row for {hour}"
        return row

    async def objects(self, bucket: str | None = None) -> dict[str, str]:
        """ETag by key of everything in the bucket."""
        answer = await self.s3.list_objects_v2(Bucket=bucket or self.bucket)
        return {item["Key"]: item["ETag"] for item in answer.get("Contents", ())}

    async def content(self, key: str) -> bytes:
        answer = await self.s3.get_object(Bucket=self.bucket, Key=key)
        async with answer["Body"] as body:
            return bytes(await body.read())

    async def rows(self, key: str) -> list[dict[str, Any]]:
        read = pq.read_table(io.BytesIO(await self.content(key)))
        return list(read.to_pylist(maps_as_pydicts="strict"))

    async def manifest(self, key: str) -> dict[str, Any]:
        return dict(json.loads(await self.content(key)))


def people(count: int, *, hour: datetime = HOUR, name: str = "person") -> list[Person]:
    """Spread over the hour, in order."""
    step = timedelta(seconds=3599 / max(1, count - 1))
    return [Person(f"{name}{n}", hour + step * n, {"plan": "pro", "likes": ["tea", f"{n}"]}) for n in range(count)]


def job(shop: Shop, hour: datetime = HOUR) -> ExportHourJob:
    return ExportHourJob(org_id=shop.org_id, hour=hour)


@asynccontextmanager
async def open_world(database_url: str, bucket: str, endpoints: Endpoints) -> AsyncIterator[World]:
    clock = FrozenClock(HOUR + timedelta(hours=2))
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(open_database(database_url, name="egress-test"))
        admin = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
        stack.push_async_callback(admin.close)
        s3 = await stack.enter_async_context(
            get_session().create_client(
                "s3",
                endpoint_url=endpoints.s3_endpoint,
                aws_access_key_id=endpoints.s3_access_key,
                aws_secret_access_key=endpoints.s3_secret_key,
                region_name="us-east-1",
            )
        )
        store = Store(db, KEYS)
        options = S3Options(connect_timeout_s=2, read_timeout_s=5, attempts=1)
        deps = Deps(store, Reader(db), S3(options, stack), clock, lease_s=300)
        yield World(database_url, db, admin, clock, deps, store, s3, bucket, endpoints)
