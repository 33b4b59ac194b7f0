"""What the exporter and those who ask it for exports share: UTC hours, and the ledger of hours that need an export.

An hour needs an export while its dirty_seq is above its exported_seq. Asking for one is therefore one statement on
the ledger; the job that follows only saves waiting for the scheduler's next look.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal, Protocol
from uuid import UUID

from shared.messaging.topology import EXPORT_HOUR, QueueSpec
from shared.schemas.jobs import ExportHourJob, ExportTable, hour_of

Reason = Literal["schedule", "backfill", "dirty"]
Table = ExportTable
Record = Literal["page", "analyst"]
"""What a row of `generations` holds: the contract's columns, or those and what an analyst needs, of control too."""
Layout = Literal["plain", "hive"]
"""How an hour's folder is called: `2026/11/23/10`, or `year=2026/month=11/day=23/hour=10`."""

HOUR = timedelta(hours=1)
VARIANTS_HOUR = datetime(1970, 1, 1, tzinfo=UTC)
"""The hour that stands in the ledger for the table of variants, which is one object."""
UNPUBLISHED_AFTER = timedelta(minutes=10)  # then the scheduler takes what a killed backfill marked but never published
_PUBLISHED_AT_ONCE = 64


class Publisher(Protocol):
    """The part of messaging.publisher that is needed here."""

    async def send_jobs(self, spec: QueueSpec, org_id: UUID, jobs: Sequence[ExportHourJob]) -> None: ...


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """The UTC hours that [start, end) touches, in order; empty when end is not after start."""
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("a time range needs time zones")
    if end <= start:
        return []
    first = hour_of(start.astimezone(UTC))
    return [first + HOUR * n for n in range(-((first - end) // HOUR))]


MARK_HOURS = """
    INSERT INTO export_hours (org_id, table_name, hour, reason, due_at)
    SELECT $1, $2, hour, $4, $5 FROM unnest($3::timestamptz[]) AS hour ORDER BY hour
    ON CONFLICT (org_id, table_name, hour) DO UPDATE
    SET dirty_seq = export_hours.dirty_seq + 1, due_at = excluded.due_at, error = NULL,
        reason = CASE WHEN export_hours.reason = 'person_deleted' AND export_hours.dirty_seq > export_hours.exported_seq
            THEN export_hours.reason ELSE excluded.reason END,
        state = CASE WHEN export_hours.state = 'exporting' THEN export_hours.state ELSE 'pending' END
"""

# What still needs an export and is in nobody's hands is due at once again.
RESUME_HOURS = """
    UPDATE export_hours SET due_at = $5
    WHERE org_id = $1 AND table_name = ANY ($2::text[]) AND hour >= $3 AND hour < $4 AND dirty_seq > exported_seq
    RETURNING table_name, hour
"""

# Of hours that hold an object now, and of those whose rows we no longer keep, which stay as they are.
SELECT_OVERWRITTEN = """
    SELECT count(*) FILTER (WHERE rows > 0 AND generations_kept(hour::date)) AS objects,
           coalesce(sum(rows) FILTER (WHERE generations_kept(hour::date)), 0)::bigint AS rows,
           coalesce(sum(bytes) FILTER (WHERE generations_kept(hour::date)), 0)::bigint AS bytes,
           count(*) FILTER (WHERE rows > 0 AND NOT generations_kept(hour::date)) AS gone,
           count(*) FILTER (WHERE dirty_seq > exported_seq) AS waiting
    FROM export_hours
    WHERE org_id = $1 AND table_name = ANY ($2::text[]) AND hour >= $3 AND hour < $4
"""

SELECT_PROGRESS = """
    SELECT count(*) AS asked,
           count(*) FILTER (WHERE dirty_seq <= exported_seq) AS exported,
           count(*) FILTER (WHERE dirty_seq > exported_seq AND state = 'blocked') AS blocked,
           coalesce(sum(rows) FILTER (WHERE dirty_seq <= exported_seq), 0)::bigint AS rows,
           coalesce(sum(bytes) FILTER (WHERE dirty_seq <= exported_seq), 0)::bigint AS bytes
    FROM export_hours WHERE org_id = $1 AND table_name = ANY ($2::text[]) AND hour >= $3 AND hour < $4
"""

SELECT_ERRORS = """
    SELECT hour, error FROM export_hours
    WHERE org_id = $1 AND table_name = ANY ($2::text[]) AND hour >= $3 AND hour < $4 AND error IS NOT NULL
    ORDER BY hour DESC LIMIT 10
"""

SELECT_FIRST = """
    SELECT least(
        (SELECT min(accepted_at) FROM generations WHERE org_id = $1 AND decision IN ('treatment', 'control')),
        (SELECT min(hour) FROM export_hours WHERE org_id = $1 AND table_name = $2)
    )
"""

SELECT_HAS_TABLE = "SELECT EXISTS (SELECT FROM export_targets WHERE org_id = $1 AND $2::text = ANY (tables))"

SELECT_IS_OFF = "SELECT EXISTS (SELECT FROM export_targets WHERE org_id = $1 AND NOT enabled)"

SELECT_HAS_TARGET = "SELECT EXISTS (SELECT FROM export_targets WHERE org_id = $1)"


async def publish_hours(
    publisher: Publisher, org_id: UUID, hours: Sequence[datetime], *, table: Table = "generations"
) -> None:
    """Send the jobs of hours that are marked for a backfill."""
    left = iter(hours)
    while chunk := list(islice(left, _PUBLISHED_AT_ONCE)):
        jobs = [ExportHourJob(org_id=org_id, table=table, hour=hour, reason="backfill") for hour in chunk]
        # One message an hour: messages are what exporters share, and what is retried.
        await asyncio.gather(*(publisher.send_jobs(EXPORT_HOUR, org_id, [job]) for job in jobs))
