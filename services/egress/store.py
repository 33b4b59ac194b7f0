"""Targets, and the ledger of hours that exporters share."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from services.egress.model import DueHour, Exported, Lease, Plan, Target
from shared.crypto import KeyRing, SealError
from shared.db.pool import Database
from shared.errors import Permanent, Throttled
from shared.exports import ExportLedger
from shared.schemas.jobs import ExportHourJob

_TABLE: Literal["generations"] = "generations"

SELECT_PLANS = "SELECT org_id, cadence FROM export_targets WHERE enabled ORDER BY org_id"

SELECT_TARGET = """
    SELECT bucket, prefix, region, endpoint_url, access_key, sealed_secret, role_arn, external_id
    FROM export_targets WHERE org_id = $1
"""

SELECT_KNOWN_HOURS = "SELECT hour FROM export_hours WHERE org_id = $1 AND table_name = $2 AND hour >= $3"

INSERT_HOURS = """
    INSERT INTO export_hours (org_id, table_name, hour, reason, due_at)
    SELECT $1, $2, hour, 'schedule', $4 FROM unnest($3::timestamptz[]) AS hour ORDER BY hour
    ON CONFLICT DO NOTHING
"""

SELECT_DUE = """
    SELECT org_id, hour, reason FROM export_hours
    WHERE dirty_seq > exported_seq AND due_at <= $2 AND table_name = $1 AND hour <= $3
    ORDER BY due_at, hour LIMIT $4
"""

UPDATE_QUEUED = """
    UPDATE export_hours e SET due_at = $4
    FROM unnest($2::uuid[], $3::timestamptz[]) AS due (org_id, hour)
    WHERE e.org_id = due.org_id AND e.table_name = $1 AND e.hour = due.hour AND e.due_at < $4
"""

INSERT_HOUR = """
    INSERT INTO export_hours (org_id, table_name, hour, reason, due_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING
"""

CLAIM_HOUR = """
    UPDATE export_hours SET state = 'exporting', epoch = epoch + 1, lease_until = $5
    WHERE org_id = $1 AND table_name = $2 AND hour = $3
      AND dirty_seq > exported_seq AND (lease_until IS NULL OR lease_until <= $4)
    RETURNING epoch, dirty_seq, coalesce(rows, 0) > 0 AS had_rows
"""

SELECT_LEASE = """
    SELECT lease_until FROM export_hours
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND dirty_seq > exported_seq
"""

# Waits for the inserts that began before the claim could be seen; see 0006_exports.sql.
WAIT_FOR_INSERTERS = "SELECT pg_advisory_xact_lock(export_hour_lock($1, $2))"

RENEW_LEASE = """
    UPDATE export_hours SET lease_until = $5
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND epoch = $4 AND lease_until IS NOT NULL
"""

FINISH_HOUR = """
    UPDATE export_hours
    SET state = CASE WHEN dirty_seq > $5 THEN 'pending' ELSE 'exported' END, exported_seq = $5,
        rows = $6, bytes = $7, sha256 = $8, etag = $9, revision = $10, exported_at = $11,
        lease_until = NULL, error = NULL
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND epoch = $4
"""

FAIL_HOUR = """
    UPDATE export_hours SET state = $5, error = $6, lease_until = NULL
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND epoch = $4
"""


class Store:
    """Every statement that concerns one org runs as that org's tenant."""

    def __init__(self, db: Database, keys: KeyRing) -> None:
        self._db, self._keys = db, keys
        self._ledger = ExportLedger(db)

    async def plans(self) -> list[Plan]:
        """Of every enabled target."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(SELECT_PLANS)
        return [Plan(row["org_id"], row["cadence"]) for row in rows]

    async def first_hour(self, org_id: UUID) -> datetime | None:
        """The earliest hour that holds anything, or was ever asked for."""
        return await self._ledger.first_hour(org_id, _TABLE)

    async def known_hours(self, org_id: UUID, since: datetime) -> list[datetime]:
        """The hours of the ledger from `since` on."""
        async with self._db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_KNOWN_HOURS, org_id, _TABLE, since)
        return [row["hour"] for row in rows]

    async def open_hours(self, org_id: UUID, hours: Sequence[datetime], due_at: datetime) -> None:
        """Put hours into the ledger that are not there yet."""
        async with self._db.transaction(org_id) as connection:
            await connection.execute(INSERT_HOURS, org_id, _TABLE, hours, due_at)

    async def due(self, now: datetime, settled_before: datetime, limit: int) -> list[DueHour]:
        """Hours of all orgs that need an export, begin no later than `settled_before`, and whose due_at has come."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(SELECT_DUE, _TABLE, now, settled_before, limit)
        return [DueHour(row["org_id"], row["hour"], row["reason"]) for row in rows]

    async def queued(self, due: Sequence[DueHour], again_at: datetime) -> None:
        """Their jobs are published; what still needs an export at `again_at` (a lost job, a blocked hour) is due
        again."""
        if due:
            orgs, hours = [hour.org_id for hour in due], [hour.hour for hour in due]
            async with self._db.connection() as connection:
                await connection.execute(UPDATE_QUEUED, _TABLE, orgs, hours, again_at)

    async def claim(self, job: ExportHourJob, now: datetime, lease_s: float) -> Lease | None:
        """The right to export this hour; None when it needs no export. Raises Throttled while another has it."""
        until = now + timedelta(seconds=lease_s)
        hour = (job.org_id, job.table, job.hour.astimezone(UTC))
        async with self._db.transaction(job.org_id) as connection:
            await connection.execute(INSERT_HOUR, *hour, job.reason, until)
            row = await connection.fetchrow(CLAIM_HOUR, *hour, now, until)
            held = None if row else await connection.fetchrow(SELECT_LEASE, *hour)
        if row is not None:
            return Lease(*hour, row["epoch"], row["dirty_seq"], row["had_rows"])
        if held is None:
            return None
        wait_s = 1.0 if held["lease_until"] is None else max(1.0, (held["lease_until"] - now).total_seconds())
        raise Throttled("another exporter has this hour", wait_s=wait_s, reason="hour_is_leased")

    async def wait_for_inserters(self, lease: Lease) -> None:
        """Return when every insert into this hour that does not know of the lease has ended: a snapshot taken from now
        on holds its rows, and whoever inserts later makes the hour dirty."""
        async with self._db.transaction(lease.org_id) as connection:
            await connection.execute(WAIT_FOR_INSERTERS, lease.org_id, lease.hour)

    async def renew(self, lease: Lease, until: datetime) -> bool:
        """False when the hour has a newer claim: then nothing may be written any more."""
        async with self._db.transaction(lease.org_id) as connection:
            done = await connection.execute(RENEW_LEASE, lease.org_id, lease.table, lease.hour, lease.epoch, until)
        return done == "UPDATE 1"

    async def finish(self, lease: Lease, exported: Exported, at: datetime) -> bool:
        """Record a finished export; False when the hour has a newer claim."""
        async with self._db.transaction(lease.org_id) as connection:
            done = await connection.execute(
                FINISH_HOUR,
                *(lease.org_id, lease.table, lease.hour, lease.epoch, lease.dirty_seq),
                *(exported.rows, exported.bytes, exported.sha256, exported.etag, exported.revision, at),
            )
        return done == "UPDATE 1"

    async def fail(self, lease: Lease, state: Literal["pending", "blocked"], error: str) -> None:
        """Give the lease back with what went wrong; a newer claim is left alone."""
        async with self._db.transaction(lease.org_id) as connection:
            await connection.execute(FAIL_HOUR, lease.org_id, lease.table, lease.hour, lease.epoch, state, error)

    async def target(self, org_id: UUID) -> Target:
        """Where this org's exports go. Raises Permanent when that is not known, or its secret does not open."""
        async with self._db.transaction(org_id) as connection:
            row = await connection.fetchrow(SELECT_TARGET, org_id)
        if row is None:
            raise Permanent("this org has no export target", reason="no_export_target")
        fields = dict(row)
        sealed = fields.pop("sealed_secret")
        try:
            secret = None if sealed is None else self._keys.open(sealed, f"{org_id}/export")
        except SealError as error:
            raise Permanent(f"the target's secret does not open: {error}", reason="secret_does_not_open") from error
        return Target(**fields, secret=secret)
