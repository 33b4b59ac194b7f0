"""SQL of the sources: which is due, how it went, and who has fallen silent or behind."""

from datetime import datetime
from typing import Final
from uuid import UUID

from services.ingest.records import Listing, Source
from shared.db.pool import Database, Row
from shared.source_silence import GAPS, silent_since

MAX_ERROR: Final = 1000
"""Characters of an error that are kept with a source or a file."""
SOURCE_COLUMNS = """s.org_id, s.source_id, s.kind, s.host, s.port, s.username, s.path, s.pattern, s.host_key,
        s.sealed_key, s.bucket, s.region, s.endpoint_url, s.access_key, s.reread_at,
        s.mapping,
        (SELECT slug FROM orgs o WHERE o.org_id = s.org_id) AS org_slug"""

TAKE_POLL_SLOT = f"""
    UPDATE sources s SET next_poll_at = $1::timestamptz + poll_s * interval '1 second'
    WHERE source_id = (
        SELECT source_id FROM sources
        WHERE enabled AND refused_at IS NULL AND (next_poll_at IS NULL OR next_poll_at <= $1)
        ORDER BY next_poll_at NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING {SOURCE_COLUMNS}
"""  # noqa: S608  # our own text

SELECT_SOURCE = f"SELECT {SOURCE_COLUMNS} FROM sources s WHERE s.org_id = $1 AND s.source_id = $2"  # noqa: S608  # the same

COUNT_REFUSED = "SELECT count(*) FROM sources WHERE enabled AND refused_at IS NOT NULL"

SELECT_GAPS = f"""
    SELECT seen.* FROM sources s CROSS JOIN LATERAL ({GAPS.format(source_id="s.source_id")}) seen WHERE s.enabled
"""  # noqa: S608  # our own text

# Behind by as much as its oldest file waits, or as nobody could look whether one does. A source that was never listed
# is being set up: its trouble stands beside it.
SELECT_LAGS = """
    SELECT o.slug, s.name, extract(epoch FROM $1::timestamptz - least(
               s.last_polled_at,
               (SELECT min(f.first_seen_at) FROM ingest_files f
                WHERE f.source_id = s.source_id AND f.state IN ('listed', 'queued', 'loading'))))::float8 AS lag_s
    FROM sources s JOIN orgs o USING (org_id) WHERE s.enabled AND s.last_polled_at IS NOT NULL
    ORDER BY lag_s DESC LIMIT $2
"""
_MOST_LAGS = 200  # series of a metric

POLL_SUCCEEDED = """
    UPDATE sources SET last_polled_at = $3, listed = $4, ignored = $5, last_error = NULL, last_error_at = NULL
    WHERE org_id = $1 AND source_id = $2
"""

# Only if the row still says what was tried: meanwhile somebody may have put the right key there.
POLL_FAILED = """
    UPDATE sources SET last_error = $3, last_error_at = $4,
        refused_at = CASE WHEN $5 AND (host_key, sealed_key, path, bucket, region) = ($6, $7, $8, $9, $10)
            THEN $4 ELSE refused_at END
    WHERE org_id = $1 AND source_id = $2
"""


class Sources:
    """The sources of all orgs, and who looks at them when."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_poll_slot(self, now: datetime) -> Source | None:
        """One source that is due, for this replica; it is due again after its interval, whatever becomes of us."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(TAKE_POLL_SLOT, now)
        return source_of(row) if row else None

    async def find(self, org_id: UUID, source_id: UUID) -> Source | None:
        """An org's own source."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(SELECT_SOURCE, org_id, source_id)
        return source_of(row) if row else None

    async def count_refused(self) -> int:
        """Sources of all orgs that are not tried again before somebody has looked at them."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(COUNT_REFUSED))

    async def count_silent(self, now: datetime) -> int:
        """Sources of all orgs that have fallen silent."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(SELECT_GAPS)
        return sum(silent_since(row["newest_at"], row["gaps"], row["usual_gap_s"], now) is not None for row in rows)

    async def lags(self, now: datetime) -> dict[tuple[str, ...], float]:
        """By org and source, seconds that it is behind; of the 200 that are farthest."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(SELECT_LAGS, now, _MOST_LAGS)
        return {(row["slug"], row["name"]): max(0.0, row["lag_s"]) for row in rows}

    async def poll_succeeded(self, source: Source, listing: Listing, now: datetime) -> None:
        async with self._database.transaction(source.org_id) as connection:
            await connection.execute(
                POLL_SUCCEEDED, source.org_id, source.source_id, now, len(listing.files), listing.ignored
            )

    async def poll_failed(self, source: Source, error: str, now: datetime, *, refused: bool) -> None:
        """Visible on the source's row; `refused`: not tried again until the row is changed."""
        async with self._database.transaction(source.org_id) as connection:
            await connection.execute(
                POLL_FAILED,
                source.org_id,
                source.source_id,
                kept_error(error),
                now,
                refused,
                source.host_key,
                source.sealed_key,
                source.path,
                source.bucket,
                source.region,
            )


def kept_error(error: str) -> str:
    """What is kept of an error's text, which may quote a server: PostgreSQL refuses a NUL, and half a character."""
    return error[:MAX_ERROR].replace("\0", "").encode(errors="replace").decode()


def source_of(row: Row) -> Source:
    """From a row of SOURCE_COLUMNS."""
    return Source(
        org_id=row["org_id"],
        source_id=row["source_id"],
        host=row["host"],
        port=row["port"],
        username=row["username"],
        path=row["path"],
        pattern=row["pattern"],
        host_key=row["host_key"],
        sealed_key=row["sealed_key"],
        mapping=row["mapping"],
        kind=row["kind"],
        org_slug=row["org_slug"],
        bucket=row["bucket"],
        region=row["region"],
        endpoint_url=row["endpoint_url"],
        access_key=row["access_key"],
        reread=row["reread_at"] is not None,
    )
