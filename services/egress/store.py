"""Targets, and the ledger of hours that exporters share."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from services.egress.model import DueHour, Exported, Lease, Plan, Target
from shared.clock import Clock
from shared.crypto import KeyRing, SealError
from shared.db.pool import Database, Row
from shared.errors import Permanent, Throttled
from shared.exports import SELECT_FIRST, VARIANTS_HOUR, Table
from shared.schemas.jobs import ExportHourJob, hour_of

SELECT_PLANS = "SELECT org_id, cadence, tables, enabled, created_at FROM export_targets ORDER BY org_id"

GIVE_FOLDER = """
    INSERT INTO export_targets (org_id, bucket, created_at, updated_at)
    SELECT org_id, '', $1, $1 FROM orgs o WHERE NOT EXISTS (SELECT FROM export_targets t WHERE t.org_id = o.org_id)
    ON CONFLICT DO NOTHING
"""

SELECT_ORGS = "SELECT org_id FROM export_targets ORDER BY org_id"

SELECT_TARGET = """
    SELECT t.bucket, t.prefix, t.region, t.endpoint_url, t.access_key, t.sealed_secret, t.role_arn,
           CASE WHEN t.role_arn IS NOT NULL THEN coalesce(t.external_id, o.export_external_id) END AS external_id,
           t.bucket_owner, t.encryption, t.kms_key_id, o.slug AS org_slug, t.record, t.layout, t.success_file
    FROM export_targets t JOIN orgs o USING (org_id) WHERE t.org_id = $1
"""

SELECT_KNOWN_HOURS = "SELECT hour FROM export_hours WHERE org_id = $1 AND table_name = $2 AND hour >= $3"

INSERT_HOURS = """
    INSERT INTO export_hours (org_id, table_name, hour, reason, due_at)
    SELECT $1, $2, hour, 'schedule', $4 FROM unnest($3::timestamptz[]) AS hour ORDER BY hour
    ON CONFLICT DO NOTHING
"""

SELECT_DUE = """
    SELECT org_id, hour, CASE WHEN reason = 'person_deleted' THEN 'dirty' ELSE reason END AS reason, table_name
    FROM export_hours e
    WHERE dirty_seq > exported_seq AND due_at <= $1 AND hour <= $2
      AND NOT EXISTS (SELECT FROM export_targets t WHERE t.org_id = e.org_id AND NOT t.enabled)
    ORDER BY row_number() OVER (PARTITION BY org_id ORDER BY due_at, hour, table_name), due_at, hour, table_name
    LIMIT $3
"""

# Of scheduled hours alone: what a backfill asked for, or came later, is late for nobody. Neither is a new target's
# history, nor what is blocked, which is told by itself.
SELECT_LATE = """
    SELECT coalesce(max(extract(epoch FROM $1 - greatest(t.updated_at, $2::interval + CASE t.cadence
        WHEN 'hourly' THEN e.hour + interval '1 hour'
        ELSE date_trunc('day', e.hour, 'UTC') + interval '1 day' END))), 0)::float8
    FROM export_targets t JOIN export_hours e USING (org_id)
    WHERE t.enabled AND e.table_name <> 'variants' AND e.hour >= $1 - interval '2 days' AND e.reason = 'schedule'
      AND e.exported_at IS NULL AND e.state IN ('pending', 'exporting')
"""

UPDATE_QUEUED = """
    UPDATE export_hours e SET due_at = $4
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS due (org_id, table_name, hour)
    WHERE e.org_id = due.org_id AND e.table_name = due.table_name AND e.hour = due.hour AND e.due_at < $4
"""

ASK_VARIANTS = """
    INSERT INTO export_hours AS e (org_id, table_name, hour, reason, due_at) VALUES ($1, 'variants', $2, 'schedule', $3)
    ON CONFLICT (org_id, table_name, hour) DO UPDATE
    SET dirty_seq = e.dirty_seq + 1, reason = 'schedule', due_at = $3, state = 'pending'
    WHERE e.dirty_seq <= e.exported_seq AND e.exported_at < $4
"""

TAKE_MARKS = """
    DELETE FROM export_marks
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM export_marks LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING org_id, table_name, hour
"""
# In one order everywhere, so that two transactions cannot wait for each other in a ring.
HOLD_HOURS = """
    SELECT FROM export_hours e
    JOIN unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS one (org_id, table_name, hour)
        USING (org_id, table_name, hour)
    ORDER BY e.org_id, e.hour, e.table_name FOR UPDATE OF e
"""
RAISE_HOURS = """
    UPDATE export_hours e SET dirty_seq = e.dirty_seq + 1,
        reason = CASE WHEN e.dirty_seq > e.exported_seq THEN e.reason ELSE 'dirty' END,
        due_at = CASE WHEN e.dirty_seq > e.exported_seq THEN e.due_at ELSE one.due_at END,
        state = CASE WHEN e.state = 'exported' THEN 'pending' ELSE e.state END
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[]) AS one (org_id, table_name, hour, due_at)
    WHERE e.org_id = one.org_id AND e.table_name = one.table_name AND e.hour = one.hour
"""
_MARKS = 10_000

# Of an org that gave its exports up, a job may still be on its way. The target is held until the claim is stored: who
# names another place sees the claim, or it knows the new place.
INSERT_HOUR = """
    INSERT INTO export_hours (org_id, table_name, hour, reason, due_at)
    SELECT $1, $2, $3, $4, $5 FROM (SELECT FROM export_targets WHERE org_id = $1 FOR SHARE) target
    ON CONFLICT DO NOTHING
"""

# Where exports are off, the hour needs none for now; what is in hand then is finished.
CLAIM_HOUR = """
    UPDATE export_hours SET state = 'exporting', epoch = epoch + 1, lease_until = $5
    WHERE org_id = $1 AND table_name = $2 AND hour = $3
      AND dirty_seq > exported_seq AND (lease_until IS NULL OR lease_until <= $4)
      AND NOT EXISTS (SELECT FROM export_targets t WHERE t.org_id = $1 AND NOT t.enabled)
    RETURNING epoch, dirty_seq, coalesce(rows, 0) > 0 AS had_rows, reason, people_deleted
"""

SELECT_LEASE = """
    SELECT lease_until FROM export_hours
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND dirty_seq > exported_seq
      AND NOT EXISTS (SELECT FROM export_targets t WHERE t.org_id = $1 AND NOT t.enabled)
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
        rows = $6, bytes = $7, sha256 = $8, etag = $9, revision = $10, exported_at = $11, schema_version = $12,
        lease_until = NULL, error = NULL
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND epoch = $4
"""

FAIL_HOUR = """
    UPDATE export_hours SET state = $5, error = $6, lease_until = NULL
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND epoch = $4
"""

PUT_OFF = """
    UPDATE export_hours SET error = $4
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND dirty_seq > exported_seq AND lease_until IS NULL
"""

LOOK_AGAIN = """
    UPDATE export_hours SET dirty_seq = dirty_seq + 1, due_at = $5,
        state = CASE WHEN state = 'exporting' THEN state ELSE 'pending' END
    WHERE org_id = $1 AND table_name = $2 AND hour = $3 AND epoch > $4
"""


class Store:
    """Every statement that concerns one org runs as that org's tenant. `giving`: the time, where there is a folder that
    orgs without a bucket export into."""

    def __init__(self, db: Database, keys: KeyRing, giving: Clock | None = None) -> None:
        self._db, self._keys, self._giving = db, keys, giving

    async def plans(self) -> list[Plan]:
        """Of every target, also of those that are switched off."""
        async with self._db.connection() as connection:
            if self._giving is not None:
                await connection.execute(GIVE_FOLDER, self._giving.now())
            rows = await connection.fetch(SELECT_PLANS)
        return [_plan(row) for row in rows]

    async def orgs_with_target(self) -> list[UUID]:
        """Of every target, also of those that are switched off."""
        async with self._db.connection() as connection:
            return [row["org_id"] for row in await connection.fetch(SELECT_ORGS)]

    async def first_hour(self, org_id: UUID, table: Table) -> datetime | None:
        """The earliest hour that holds anything, or was ever asked for."""
        async with self._db.transaction(org_id) as connection:
            first: datetime | None = await connection.fetchval(SELECT_FIRST, org_id, table)
        return None if first is None else hour_of(first)

    async def known_hours(self, org_id: UUID, table: Table, since: datetime) -> list[datetime]:
        """The hours of the ledger from `since` on."""
        async with self._db.transaction(org_id) as connection:
            rows = await connection.fetch(SELECT_KNOWN_HOURS, org_id, table, since)
        return [row["hour"] for row in rows]

    async def open_hours(self, org_id: UUID, table: Table, hours: Sequence[datetime], due_at: datetime) -> None:
        """Put hours into the ledger that are not there yet."""
        async with self._db.transaction(org_id) as connection:
            await connection.execute(INSERT_HOURS, org_id, table, hours, due_at)

    async def ask_variants(self, org_id: UUID, closed_at: datetime, due_at: datetime) -> None:
        """Have the table of variants exported, unless that was done or asked for since `closed_at`."""
        async with self._db.transaction(org_id) as connection:
            await connection.execute(ASK_VARIANTS, org_id, VARIANTS_HOUR, due_at, closed_at)

    async def take_marks(
        self, since: datetime, due_at: Callable[[UUID, datetime], datetime | None]
    ) -> tuple[int, bool]:
        """Raise the exported hours that hold something new, from `since` on; how many, and whether more marks may be
        left. `due_at`: when an hour of an org is due again; None: never. One that is due already stays as it is due."""
        async with self._db.transaction() as connection:
            marks = await connection.fetch(TAKE_MARKS, _MARKS)
            # A mark that is seen was committed, so an hour that is not in the ledger yet will read what it is about.
            due = {
                (row["org_id"], row["table_name"], row["hour"]): at
                for row in marks
                if row["hour"] >= since and (at := due_at(row["org_id"], row["hour"])) is not None
            }
            more = len(marks) == _MARKS
            if not due:
                return 0, more
            keys = sorted(due)
            columns = [*map(list, zip(*keys, strict=True)), [due[key] for key in keys]]
            await connection.execute(HOLD_HOURS, *columns[:3])
            return int((await connection.execute(RAISE_HOURS, *columns)).rpartition(" ")[2]), more

    async def due(self, now: datetime, settled_before: datetime, limit: int) -> list[DueHour]:
        """Hours of all orgs that need an export, begin no later than `settled_before`, and whose due_at has come. Orgs
        take turns, so that thousands of one keep no other's back."""
        async with self._db.connection() as connection:
            rows = await connection.fetch(SELECT_DUE, now, settled_before, limit)
        return [DueHour(row["org_id"], row["hour"], row["reason"], row["table_name"]) for row in rows]

    async def late_s(self, now: datetime, settle_s: float) -> float:
        """For how long the hour of the last days that waits longest could have been exported; 0 where none waits."""
        async with self._db.connection() as connection:
            late_s: float = await connection.fetchval(SELECT_LATE, now, timedelta(seconds=settle_s))
        return max(0.0, late_s)

    async def queued(self, due: Sequence[DueHour], again_at: datetime) -> None:
        """Their jobs are published; what still needs an export at `again_at` (a lost job, a blocked hour) is due
        again."""
        if due:
            columns = list(map(list, zip(*((one.org_id, one.table, one.hour) for one in due), strict=True)))
            async with self._db.connection() as connection:
                await connection.execute(UPDATE_QUEUED, *columns, again_at)

    async def claim(self, job: ExportHourJob, now: datetime, lease_s: float) -> Lease | None:
        """The right to export this hour; None when it needs no export. Raises Throttled while another has it."""
        until = now + timedelta(seconds=lease_s)
        hour = (job.org_id, job.table, job.hour.astimezone(UTC))
        async with self._db.transaction(job.org_id) as connection:
            await connection.execute(INSERT_HOUR, *hour, job.reason, until)
            row = await connection.fetchrow(CLAIM_HOUR, *hour, now, until)
            held = None if row else await connection.fetchrow(SELECT_LEASE, *hour)
        if row is not None:
            return Lease(
                *hour, row["epoch"], row["dirty_seq"], row["had_rows"], now, row["reason"], row["people_deleted"]
            )
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
                exported.schema_version,
            )
        return done == "UPDATE 1"

    async def fail(self, lease: Lease, state: Literal["pending", "blocked"], error: str) -> None:
        """Give the lease back with what went wrong; a newer claim is left alone."""
        async with self._db.transaction(lease.org_id) as connection:
            await connection.execute(FAIL_HOUR, lease.org_id, lease.table, lease.hour, lease.epoch, state, error)

    async def put_off(self, job: ExportHourJob, error: str) -> None:
        """An hour that was not tried says why."""
        async with self._db.transaction(job.org_id) as connection:
            await connection.execute(PUT_OFF, job.org_id, job.table, job.hour.astimezone(UTC), error)

    async def look_again(self, lease: Lease, at: datetime) -> None:
        """An hour that has a newer claim is due at `at`, whatever that claim found; our own is due as it is."""
        async with self._db.transaction(lease.org_id) as connection:
            await connection.execute(LOOK_AGAIN, lease.org_id, lease.table, lease.hour, lease.epoch, at)

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


def _plan(row: Row) -> Plan:
    tables = "generations", *sorted(row["tables"])
    return Plan(row["org_id"], row["cadence"], tables, row["enabled"], row["created_at"])
