"""SQL of sources that are Klaviyo's events: the org's key, which metrics count, and which days are read."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from services.ingest.records import Source
from services.ingest.sources.klaviyo_windows import Backfill
from shared.db.pool import Database

SELECT_KEY: Final = "SELECT account_key, base_url, sealed_key FROM integrations WHERE org_id = $1"
BEGIN: Final = """
    INSERT INTO event_sources (source_id, org_id, began) SELECT source_id, org_id, $3 FROM sources
    WHERE org_id = $1 AND source_id = $2 ON CONFLICT DO NOTHING
"""
SELECT_BEGAN: Final = "SELECT began FROM event_sources WHERE org_id = $1 AND source_id = $2"
SELECT_BACKFILLS: Final = """
    SELECT since, until, asked_at FROM event_backfills WHERE org_id = $1 AND source_id = $2 ORDER BY since, until
"""
SELECT_METRICS: Final = """
    SELECT DISTINCT lower(m.name) AS name FROM templates CROSS JOIN LATERAL (
        SELECT jsonb_array_elements_text(conversions->'metrics') AS name
        UNION ALL SELECT jsonb_array_elements_text(conversions->'refunds')) m
    WHERE org_id = $1 AND conversions IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The org's key to Klaviyo, sealed for `<org id>/klaviyo`."""

    account_key: str
    base_url: str
    sealed_key: str


class EventSources:
    """What is stored of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key(self, source: Source) -> StoredKey | None:
        """None: the org is not connected to Klaviyo."""
        async with self._database.transaction(source.org_id) as connection:
            row = await connection.fetchrow(SELECT_KEY, source.org_id)
        return StoredKey(row["account_key"], row["base_url"], row["sealed_key"]) if row else None

    async def counted_metrics(self, source: Source) -> set[str]:
        """Metrics that some template counts as orders or refunds, in lower case."""
        async with self._database.transaction(source.org_id) as connection:
            return {row["name"] for row in await connection.fetch(SELECT_METRICS, source.org_id)}

    async def days(self, source: Source, now: datetime) -> tuple[date, list[Backfill]]:
        """The first day that is read by itself, which is today for a source that is new, and what was asked for."""
        ids = source.org_id, source.source_id
        async with self._database.transaction(source.org_id) as connection:
            await connection.execute(BEGIN, *ids, now.date())
            began: date | None = await connection.fetchval(SELECT_BEGAN, *ids)
            rows = await connection.fetch(SELECT_BACKFILLS, *ids)
        return began or now.date(), [Backfill(row["since"], row["until"], row["asked_at"]) for row in rows]
