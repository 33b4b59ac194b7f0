"""A shop with sends in PostgreSQL, and the ranker on it."""

import base64
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from pydantic import SecretStr

from services.ranker.app import build
from services.ranker.settings import Settings
from shared.db.pool import Database, open_database
from tests.support.services import serving
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
_KEY = base64.b64encode(bytes(32)).decode()

INSERT_ORG = "INSERT INTO orgs (org_id, slug, name, created_at) VALUES ($1, $2, 'Shop', $3)"
INSERT_TEMPLATE = """
    INSERT INTO templates (org_id, template_id, name, state, policy, created_at, updated_at)
    VALUES ($1, 'welcome', 'Welcome', 'active', $2, $3, $3)
"""
INSERT_VARIANT = """
    INSERT INTO variants (org_id, copy_id, template_id, name, state, version, created_at, updated_at)
    VALUES ($1, $2, 'welcome', $3, 'approved', 1, $4, $4)
"""
# Whoever likes the variant has clicked on the first 10 of each 100, whoever does not on the first 2.
INSERT_SENDS = """
    INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, generation_day,
        template_id, copy_id, cell, delivered, bounced, unsubscribed, spam, human_opens, machine_opens, first_click_at,
        human_clicks, bot_clicks)
    SELECT $1, $2 || n, 'P' || n, $3, ($3 AT TIME ZONE 'UTC')::date, 'message', NULL, NULL, 'welcome', $4, $5, $8,
        NOT $8, false, false, 0, 1, CASE WHEN n <= $7 THEN $3 + interval '30 minutes' END, (n <= $7)::int, 0
    FROM generate_series(1, $6) n
"""
INSERT_UNRENDERED = """
    INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, deadline_at,
        clean_at, decision, reason, property_prefix, written_for, drawn_copy_id)
    SELECT day, md5(transmission_id)::uuid, org_id, template_id, profile_id, 'u.f.a', sent_at, sent_at, sent_at,
        'control', 'field_missing', 'jai', 'welcome', $3
    FROM sends WHERE org_id = $1 AND transmission_id LIKE $2 || '%'
"""
UPDATE_GENERATION = """
    UPDATE sends SET generation_id = md5(transmission_id)::uuid, generation_day = day, drawn_copy_id = $3
    WHERE org_id = $1 AND transmission_id LIKE $2 || '%'
"""
INSERT_ROLLUP = """
    INSERT INTO rollups (org_id, template_id, copy_id, cell, day, sends, delivered, human_opens, machine_opens,
        human_clicks, bot_clicks, unsubscribes, bounces, spam)
    VALUES ($1, 'welcome', $2, $3, $4, 1, 1, 0, 0, 0, 0, 0, 0, 0)
"""
DELETE_ROLLUPS = "DELETE FROM rollups WHERE org_id = $1"


@dataclass(frozen=True, slots=True)
class Shop:
    """One org with one template; its variants in the order of their copy ids."""

    database: Database
    database_url: str
    org_id: UUID
    copy_ids: list[UUID]

    async def rows(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """What the database answers, seen across orgs."""
        async with self.database.connection() as connection:
            return list(await connection.fetch(sql, *args))

    async def sent(
        self, variant: int | None, cell: str, sends: int, clicks: int, *, at: datetime = NOW - timedelta(days=10),
        delivered: bool = True,
    ) -> str:  # fmt: skip
        """Emails that showed this variant (None: control), as ingest would have attributed them. Returns how their ids
        begin."""
        copy_id, begin = None if variant is None else self.copy_ids[variant], f"{uuid4().hex}:"
        await self.rows(INSERT_SENDS, self.org_id, begin, at, copy_id, cell, sends, clicks, delivered)
        return begin

    async def unrendered(self, variant: int, cell: str, sends: int, clicks: int) -> None:
        """Emails that showed control content because the variant that was drawn could not be rendered."""
        at = NOW - timedelta(days=10)
        begin = await self.sent(None, cell, sends, clicks, at=at)
        await self.rows("SELECT ensure_partition('generations', $1)", at.date())
        await self.rows(INSERT_UNRENDERED, self.org_id, begin, self.copy_ids[variant])
        await self.rows(UPDATE_GENERATION, self.org_id, begin, self.copy_ids[variant])

    async def told_until(self, moment: datetime) -> None:
        """What ingest notes with a file: the newest event of an email in it."""
        await self.rows("INSERT INTO known_events VALUES ($1, $2)", self.org_id, moment)

    async def feedback(self) -> None:
        """What ingest does last: rollups are rebuilt, here of one variant."""
        async with self.database.transaction() as connection:
            await connection.execute(DELETE_ROLLUPS, self.org_id)
            await connection.execute(INSERT_ROLLUP, self.org_id, self.copy_ids[0], "plan=pro", NOW.date())

    async def tastes(self) -> None:
        """600 sends a variant and plan: free likes the first one, pro the last one."""
        last = len(self.copy_ids) - 1
        for variant in range(last + 1):
            await self.sent(variant, "plan=free", 600, 60 if variant == 0 else 12)
            await self.sent(variant, "plan=pro", 600, 60 if variant == last else 12)
        await self.feedback()

    async def snapshots(self) -> list[asyncpg.Record]:
        return await self.rows("SELECT * FROM policy_snapshots WHERE org_id = $1 ORDER BY created_at", self.org_id)

    async def looked_at(self, times: int) -> None:
        """A ranker has claimed the only template so often; before its first look there is no row of it."""

        async def enough() -> None:
            epochs = [row["epoch"] for row in await self.rows("SELECT epoch FROM policy_fits")]
            assert len(epochs) == 1
            assert epochs[0] >= times

        await eventually(enough, within_s=20)


@asynccontextmanager
async def open_shop(database_url: str, *, slug: str = "shop", variants: int = 3, **policy: Any) -> AsyncIterator[Shop]:
    async with open_database(database_url, name="test") as database:
        org_id, copy_ids = uuid4(), sorted(uuid4() for _ in range(variants))
        shop = Shop(database, database_url, org_id, copy_ids)
        await shop.rows(INSERT_ORG, org_id, slug, NOW)
        await shop.rows(INSERT_TEMPLATE, org_id, policy, NOW)
        for number, copy_id in enumerate(copy_ids):
            await shop.rows(INSERT_VARIANT, org_id, copy_id, f"v{number}", NOW)
        yield shop


@asynccontextmanager
async def running(database_url: str, *, refit_s: float = 3600) -> AsyncIterator[None]:
    """One ranker, built as its process builds it, until drained. Its clock starts at NOW."""
    settings = Settings(
        database_url=SecretStr(database_url),
        amqp_url=SecretStr("amqp://127.0.0.1:1/"),
        seal_keys=SecretStr(f"k1:{_KEY}"),
        api_key_peppers=SecretStr(f"1:{_KEY}"),
        clock=f"scaled:1:{time.time()}:{NOW.isoformat()}",
        ranker_tick_s=0.1,
        ranker_refit_s=refit_s,
    )
    async with AsyncExitStack() as stack:
        service = await build(settings, stack)
        async with serving(service):
            yield
