"""The rows of one org-hour, from one snapshot, a batch at a time."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from services.egress.model import Lease, StoredRow
from shared.db.pool import SCOPE_TO_ORG, Connection, Database
from shared.exports import HOUR
from shared.schemas.copy import VariantSource

_FETCH_ROWS = 1000
_FETCH_TIMEOUT_S = 120.0  # real; the first one may have to sort
_READ_TIMEOUT_S = 1200.0  # real; one hour from first to last row, encoding included
_CACHED_SOURCES = 2048  # about 40 MB at 20 KB each

SET_TIMEOUT = f"SET LOCAL statement_timeout = '{_FETCH_TIMEOUT_S:.0f}s'"

# The window that a generation's day is taken from divides a day (shared/schemas/ids.py), so the day of the hour is
# the day of its rows. floor: a cast would round the last half second of an hour up into the next one.
SELECT_ROWS = """
    SELECT floor(extract(epoch FROM accepted_at))::bigint AS event_timestamp, user_id, tracking_id, copy_id,
           template_id, attrs, vars, variant_version
    FROM generations
    WHERE day = $1 AND org_id = $2 AND accepted_at >= $3 AND accepted_at < $4
      AND decision = 'treatment' AND copy_id IS NOT NULL
    ORDER BY accepted_at, generation_id
"""

SELECT_SOURCES = """
    SELECT v.copy_id, v.version, v.subject, v.preheader, v.body
    FROM variant_versions v
    JOIN unnest($1::uuid[], $2::int[]) AS wanted (copy_id, version) USING (copy_id, version)
"""

SELECT_HAS_PARTITION = "SELECT to_regclass('generations_' || to_char($1::date, 'YYYYMMDD')) IS NOT NULL"

SourceId = tuple[UUID, int]


class HourRows:
    """An open cursor. Rows come in the order of the file: by acceptance, then by id."""

    def __init__(self, connection: Connection, cursor: Any, sources: "SourceCache") -> None:
        self._connection, self._cursor, self._sources = connection, cursor, sources

    async def fetch(self) -> list[StoredRow]:
        """The next rows; empty at the end."""
        rows = await self._cursor.fetch(_FETCH_ROWS, timeout=_FETCH_TIMEOUT_S)
        wanted = {(row["copy_id"], row["variant_version"]) for row in rows}
        sources = await self._sources.get(self._connection, wanted)
        return [
            StoredRow(
                row["event_timestamp"],
                row["user_id"],
                row["tracking_id"],
                str(row["copy_id"]),
                row["template_id"],
                row["attrs"],
                row["vars"],
                sources.get((row["copy_id"], row["variant_version"])),
            )
            for row in rows
        ]


class SourceCache:
    """Variant versions never change, so they are kept; the least recently used go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[SourceId, VariantSource] = OrderedDict()

    async def get(self, connection: Connection, wanted: "set[SourceId]") -> dict[SourceId, VariantSource]:
        """Those of `wanted` that exist."""
        found: dict[SourceId, VariantSource] = {}
        missing = []
        for source_id in wanted:
            if source_id in self._kept:
                self._kept.move_to_end(source_id)
                found[source_id] = self._kept[source_id]
            else:
                missing.append(source_id)
        if missing:
            rows = await connection.fetch(SELECT_SOURCES, *map(list, zip(*missing, strict=True)))
            found |= {(row["copy_id"], row["version"]): VariantSource(**row) for row in rows}
            self._keep(found)
        return found

    def _keep(self, found: dict[SourceId, VariantSource]) -> None:
        self._kept.update(found)
        while len(self._kept) > _CACHED_SOURCES:
            self._kept.popitem(last=False)


class Reader:
    """Reads as the tenant whose hour it is, so that no mistake in a statement can export another org's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sources = SourceCache()

    @asynccontextmanager
    async def hour(self, lease: Lease) -> AsyncIterator[HourRows]:
        """All rows of the hour that were committed at this moment."""
        async with (
            self._db.connection(_READ_TIMEOUT_S) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(SCOPE_TO_ORG, str(lease.org_id))
            await connection.execute(SET_TIMEOUT)
            cursor = await connection.cursor(
                SELECT_ROWS, lease.hour.date(), lease.org_id, lease.hour, lease.hour + HOUR
            )
            yield HourRows(connection, cursor, self._sources)

    async def has_partition(self, lease: Lease) -> bool:
        """Whether PostgreSQL still keeps (or ever had) rows of this hour's day."""
        async with self._db.connection() as connection:
            return bool(await connection.fetchval(SELECT_HAS_PARTITION, lease.hour.date()))
