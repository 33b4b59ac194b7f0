"""The rows of one org-hour, from one snapshot, a batch at a time; and those of the tables beside the record."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Sized
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, cast
from uuid import UUID

import asyncpg
import numpy as np

from services.egress.copying import CopyOut, columns_of
from services.egress.model import Details, Lease, OutcomeRow, StoredRows, VariantRow, VersionRow
from shared.db.pool import SCOPE_TO_ORG, Connection, Database, Row
from shared.db.versions import VersionId, Versions
from shared.exports import HOUR, Record
from shared.schemas.copy import VariantSource, Vars
from shared.vars_codec import opener

_FETCH_ROWS = 1000
_FETCH_BYTES = 1 << 20  # packed, about 2,000 rows
_FETCH_TIMEOUT_S = 120.0  # real; the first one may have to sort
_READ_TIMEOUT_S = 1200.0  # real; one hour from first to last row, encoding included
_CACHED_SOURCES = 2048  # about 40 MB at 20 KB each

_WIDTHS: Mapping[Record, int] = {"page": 8, "analyst": 16}
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01

SET_TIMEOUT = f"SET LOCAL statement_timeout = '{_FETCH_TIMEOUT_S:.0f}s'"
# Then the index gives rows by acceptance, and only equal moments are sorted by id: the first rows come at once, and
# nothing is written to disk. A planner who thinks of all rows would sort the hour first.
STREAM = f"SET LOCAL enable_sort = off; SET LOCAL statement_timeout = '{_READ_TIMEOUT_S:.0f}s'"

# The window that a generation's day is taken from divides a day (shared/schemas/ids.py), so the day of the hour is
# the day of its rows. floor: a cast would round the last half second of an hour up into the next one.
SELECT_ROWS = """
    SELECT accepted_at, user_id, tracking_id, copy_id::text, template_id, attrs::text, vars, variant_version
    FROM generations
    WHERE day = $1 AND org_id = $2 AND accepted_at >= $3 AND accepted_at < $4
      AND decision = 'treatment' AND copy_id IS NOT NULL
    ORDER BY accepted_at, generation_id
"""

# Previews were only looked at: they stay out of every table.
SELECT_ANALYST_ROWS = """
    SELECT g.accepted_at, g.user_id, g.tracking_id, g.copy_id::text, g.template_id, g.attrs::text, g.vars,
           g.variant_version, g.generation_id::text, v.name, g.propensity, g.snapshot_id::text, g.decision, g.reason,
           w.outcome, w.reason
    FROM generations g
    LEFT JOIN write_outcomes w ON w.day = $1 AND w.generation_id = g.generation_id
    LEFT JOIN variants v ON v.copy_id = g.copy_id
    WHERE g.day = $1 AND g.org_id = $2 AND g.accepted_at >= $3 AND g.accepted_at < $4
      AND g.decision IN ('treatment', 'control')
    ORDER BY g.accepted_at, g.generation_id
"""

# One generation may have been sent twice; what came of either came of it.
SELECT_OUTCOMES = """
    WITH decided AS MATERIALIZED (
        SELECT generation_id, template_id, copy_id, user_id, tracking_id, accepted_at, decision, reason
        FROM generations
        WHERE day = $1 AND org_id = $2 AND accepted_at >= $3 AND accepted_at < $4
          AND decision IN ('treatment', 'control')
    ), sent AS MATERIALIZED (
        SELECT s.generation_id, count(*)::int AS sends, min(s.sent_at) AS sent_at, bool_or(s.delivered) AS delivered,
               bool_or(s.human_opens > 0) AS opened, bool_or(s.human_clicks > 0) AS clicked,
               bool_or(s.bounced) AS bounced, bool_or(s.unsubscribed) AS unsubscribed, bool_or(s.spam) AS spam,
               count(e.converted_at)::int AS conversions, sum(e.revenue)::float8 AS revenue
        FROM sends s CROSS JOIN LATERAL earned($2, s.template_id, s.transmission_id, 'infinity') e
        WHERE s.org_id = $2 AND s.generation_day = $1 AND s.generation_id IN (SELECT generation_id FROM decided)
        GROUP BY s.generation_id
    )
    SELECT floor(extract(epoch FROM d.accepted_at))::bigint AS event_timestamp, d.generation_id::text, d.user_id,
           d.tracking_id, d.template_id, d.copy_id::text, d.decision = 'control' AS control,
           coalesce(s.sends, 0) AS sends, (extract(epoch FROM s.sent_at) * 1000000)::bigint AS sent_us,
           coalesce(s.delivered, false), coalesce(s.opened, false), coalesce(s.clicked, false),
           coalesce(s.bounced, false), coalesce(s.unsubscribed, false), coalesce(s.spam, false),
           coalesce(s.conversions, 0), CASE WHEN t.conversions IS NOT NULL THEN s.revenue END,
           t.conversions->>'currency', d.decision, d.reason
    FROM decided d LEFT JOIN sent s USING (generation_id)
    LEFT JOIN templates t ON t.org_id = $2 AND t.template_id = d.template_id
    ORDER BY d.accepted_at, d.generation_id
"""

# Days are counted ahead and outlive the generations; what was chosen since yesterday may not be counted yet.
SELECT_VARIANTS = r"""
    WITH hashed AS (
        SELECT copy_id, version, created_at, subject, preheader, body, encode(sha256(
            convert_to(subject, 'UTF8') || '\x00'::bytea || convert_to(preheader, 'UTF8') || '\x00'::bytea
            || convert_to(body, 'UTF8')), 'hex') AS sha256
        FROM variant_versions WHERE org_id = $1
    ), versions AS (
        SELECT copy_id, array_agg(version ORDER BY version) AS numbers, array_agg(sha256 ORDER BY version) AS hashes,
               array_agg((extract(epoch FROM created_at) * 1000000)::bigint ORDER BY version) AS made
        FROM hashed GROUP BY copy_id
    ), used AS (
        SELECT copy_id, min(day) AS first, max(day) AS last FROM (
            SELECT copy_id, day FROM result_counts
            WHERE org_id = $1 AND attr = '' AND copy_id IS NOT NULL AND assigned > 0
            UNION ALL
            SELECT copy_id, day FROM generations
            WHERE org_id = $1 AND day >= $2 AND decision = 'treatment' AND copy_id IS NOT NULL
        ) one GROUP BY copy_id
    )
    SELECT v.copy_id::text, v.template_id, t.name AS template_name, v.name, v.theme, v.state, v.version, h.sha256,
           h.subject, h.preheader, h.body, n.numbers, n.hashes, n.made,
           (extract(epoch FROM v.created_at) * 1000000)::bigint AS created_us, u.first, u.last
    FROM variants v JOIN templates t USING (org_id, template_id)
    JOIN hashed h ON h.copy_id = v.copy_id AND h.version = v.version
    JOIN versions n ON n.copy_id = v.copy_id
    LEFT JOIN used u ON u.copy_id = v.copy_id
    WHERE v.org_id = $1 ORDER BY v.template_id, v.copy_id
"""

# A day without a partition may never have had one: then only an earlier export knows of rows.
SELECT_GONE = """
    SELECT EXISTS (SELECT FROM dropped_days WHERE day = $1) OR $2::boolean AND NOT generations_kept($1)
"""

Sources = Mapping[VersionId, VariantSource]


class Batches(Protocol):
    """An open table. Rows come in the order of the file, a batch at a time."""

    async def fetch(self) -> Sized:
        """The next rows; none at the end."""


class HourRows:
    """Generations by acceptance, then by id."""

    def __init__(
        self, copying: CopyOut, sources: Callable[[set[VersionId]], Awaitable[Sources]], record: Record
    ) -> None:
        self._copying, self._sources, self._record = copying, sources, record

    async def fetch(self) -> StoredRows:
        """The next rows; none at the end."""
        fetched = await self._copying.fetch(_FETCH_BYTES, _FETCH_TIMEOUT_S)
        columns = await asyncio.to_thread(columns_of, fetched, _WIDTHS[self._record])
        accepted, users, trackings, copies, templates, attrs, texts, versions, *details = columns
        chosen = list(zip(copies, versions, strict=True))
        ids = {one: (UUID(one[0].decode()), int.from_bytes(one[1])) for one in set(chosen) if one[0] and one[1]}
        sources = await self._sources(set(ids.values())) if ids else {}
        openers = {one: opener(sources[source_id]) for one, source_id in ids.items() if source_id in sources}
        return StoredRows(
            np.frombuffer(b"".join(cast("Sequence[bytes]", accepted)), ">i8").astype(np.int64) + _POSTGRES_EPOCH_US,
            users, trackings, copies, templates, cast("Sequence[bytes]", attrs), texts, list(map(openers.get, chosen)),
            Details(*details) if details else None,
        )  # fmt: skip


class PlainRows:
    """Rows that need no second look-up."""

    def __init__(self, cursor: Any, read: Callable[[Any], Any]) -> None:
        self._cursor, self._read = cursor, read

    async def fetch(self) -> list[Any]:
        """The next rows; empty at the end."""
        return [self._read(row) for row in await self._cursor.fetch(_FETCH_ROWS, timeout=_FETCH_TIMEOUT_S)]


def _variant(row: Row) -> VariantRow:
    versions = [VersionRow(*one) for one in zip(row["numbers"], row["hashes"], row["made"], strict=True)]
    copy = Vars(row["subject"], row["preheader"], row["body"])
    return VariantRow(
        row["copy_id"], row["template_id"], row["template_name"], row["name"], row["theme"], row["state"],
        row["version"], row["sha256"], copy, versions, row["created_us"], row["first"], row["last"],
    )  # fmt: skip


@asynccontextmanager
async def _snapshot(connection: Connection) -> AsyncIterator[None]:
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    try:
        yield
    finally:
        with suppress(asyncpg.InterfaceError):  # a COPY that was left early took the connection with it
            await transaction.rollback()


class Reader:
    """Reads as the tenant whose hour it is, so that no mistake in a statement can export another org's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._versions = Versions(_CACHED_SOURCES)

    @asynccontextmanager
    async def hour(self, lease: Lease, record: Record) -> AsyncIterator[Batches]:
        """All rows of the hour that were committed at this moment."""
        async with self._db.connection(_READ_TIMEOUT_S) as connection, _snapshot(connection):
            await connection.execute(SCOPE_TO_ORG, str(lease.org_id))
            hour = (lease.hour.date(), lease.org_id, lease.hour, lease.hour + HOUR)
            if lease.table == "generations":
                await connection.execute(STREAM)
                statement = SELECT_ANALYST_ROWS if record == "analyst" else SELECT_ROWS
                async with CopyOut(connection, statement, *hour, timeout_s=_READ_TIMEOUT_S) as copying:
                    yield HourRows(copying, partial(self._sources, lease.org_id), record)
                return
            await connection.execute(SET_TIMEOUT)
            if lease.table == "outcomes":
                yield PlainRows(await connection.cursor(SELECT_OUTCOMES, *hour), lambda row: OutcomeRow(*row))
            else:
                yesterday = lease.at.date() - timedelta(days=1)
                yield PlainRows(await connection.cursor(SELECT_VARIANTS, lease.org_id, yesterday), _variant)

    async def _sources(self, org_id: UUID, wanted: set[VersionId]) -> Sources:
        """Over a connection of its own, for the rows have theirs."""
        return await self._versions.get(wanted, lambda: self._db.transaction(org_id))

    async def is_gone(self, lease: Lease) -> bool:
        """Whether PostgreSQL no longer has all rows that this hour ever had; the table of variants has no day."""
        if lease.table == "variants":
            return False
        async with self._db.connection() as connection:
            return bool(await connection.fetchval(SELECT_GONE, lease.hour.date(), lease.had_rows))
