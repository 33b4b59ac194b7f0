"""SQL of the ledger of files."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from services.ingest.loading.retract import SUPERSEDE
from services.ingest.loading.switch import STATEMENT_TIMEOUT_S, begin_switch
from services.ingest.records import Claimed, Got, Listed, Loaded, Source
from services.ingest.sources.store import SOURCE_COLUMNS, kept_error, source_of
from shared.db.pool import Connection, Database
from shared.errors import Throttled

_NOTHING = Loaded(0, 0)

# A version that is settled or on its way keeps its row, which the switch of a long file holds: it is not waited for.
RECORD_NEW = """
    INSERT INTO ingest_files (file_id, org_id, source_id, path, size, mtime, tag, first_seen_at, last_seen_at)
    SELECT file_id, $1, $2, path, size, mtime, tag, $3, $3
    FROM unnest($4::uuid[], $5::text[], $6::bigint[], $7::timestamptz[], $8::text[])
        AS listing (file_id, path, size, mtime, tag)
    ON CONFLICT (source_id, path, size, mtime, tag) DO NOTHING
"""
# One that was only listed was seen once more. One that had been replaced and is there again is read again.
RECORD_SEEN = """
    UPDATE ingest_files f SET last_seen_at = $3, state = 'listed', attempts = 0,
        first_seen_at = CASE WHEN f.state = 'listed' THEN f.first_seen_at ELSE $3 END
    FROM unnest($4::text[], $5::bigint[], $6::timestamptz[], $7::text[]) AS listing (path, size, mtime, tag)
    WHERE f.org_id = $1 AND f.source_id = $2
      AND (f.state = 'listed' OR f.state IN ('done', 'held', 'failed') AND f.superseded_by IS NOT NULL)
      AND f.path = listing.path AND f.size = listing.size AND f.mtime = listing.mtime AND f.tag = listing.tag
"""

# What this listing does not show was written on, replaced or removed; should it come back, its time starts anew.
# Of what was loaded once, rows may still be told by.
KEEP_UNSEEN = """
    UPDATE ingest_files SET state = 'done'
    WHERE org_id = $1 AND source_id = $2 AND state = 'listed' AND last_seen_at < $3
      AND (superseded_by IS NOT NULL OR held IS NOT NULL OR same_as IS NOT NULL)
"""
FORGET_UNSEEN = """
    DELETE FROM ingest_files WHERE org_id = $1 AND source_id = $2 AND state = 'listed' AND last_seen_at < $3
"""

# Of what this listing shows; it was seen unchanged before, so it is ready at once.
READ_AGAIN = """
    WITH again AS (
        UPDATE ingest_files f SET state = 'listed', attempts = 0, last_seen_at = $3
        FROM unnest($4::text[], $5::bigint[], $6::timestamptz[], $7::text[]) AS listing (path, size, mtime, tag)
        WHERE f.org_id = $1 AND f.source_id = $2 AND f.state IN ('done', 'held', 'failed')
          AND (f.path, f.size, f.mtime, f.tag) = (listing.path, listing.size, listing.mtime, listing.tag)
        RETURNING f.size
    )
    UPDATE sources SET reread_at = NULL, (reread_files, reread_bytes) =
        (SELECT count(*), coalesce(sum(size), 0) FROM again)
    WHERE org_id = $1 AND source_id = $2
"""

# Those whose message or worker was lost, then stable ones, oldest first: so many that $6 are on their way, once half of
# that or fewer are, because finding the oldest reads all that wait. What came back to be listed since the last listing
# waits for the next one: its server may be away. Files that were tried and come again later do not count: some old ones
# that cannot be read must not keep the newest from being read for hours.
SELECT_CANDIDATES = """
    (SELECT file_id FROM ingest_files
     WHERE org_id = $1 AND source_id = $2 AND state IN ('queued', 'loading')
       AND queued_at < $3::timestamptz - $5::interval AND (lease_until IS NULL OR lease_until < $3)
     ORDER BY mtime, path)
    UNION ALL
    (SELECT f.file_id FROM ingest_files f JOIN sources s USING (source_id)
     WHERE f.org_id = $1 AND f.source_id = $2 AND f.state = 'listed'
       AND f.last_seen_at - f.first_seen_at >= $4::interval AND f.last_seen_at <= s.last_polled_at
       AND s.enabled AND s.refused_at IS NULL
     ORDER BY f.mtime, f.path
     LIMIT (SELECT CASE WHEN count(*) > $6::int / 2 THEN 0 ELSE $6::int - count(*) END FROM ingest_files
            WHERE org_id = $1 AND source_id = $2 AND state IN ('queued', 'loading') AND attempts = 0))
"""

MARK_QUEUED = """
    UPDATE ingest_files SET queued_at = $3, state = CASE WHEN state = 'listed' THEN 'queued' ELSE state END
    WHERE org_id = $1 AND file_id = $2 AND state IN ('listed', 'queued', 'loading')
"""

# Somebody who replays a dead letter means it: held and failed files are taken too.
CLAIM = f"""
    UPDATE ingest_files f SET state = 'loading', claim_id = $3, lease_until = $4, got_bytes = 0, got_rows = 0,
        got_since = $5, got_at = $5
    FROM sources s
    WHERE f.org_id = $1 AND f.file_id = $2 AND s.source_id = f.source_id
      AND f.state <> 'done' AND (f.state <> 'loading' OR f.lease_until IS NULL OR f.lease_until < $5)
    RETURNING f.path AS file_path, f.size, f.mtime, f.tag, f.accepted_at IS NOT NULL AS accepted, {SOURCE_COLUMNS}
"""  # noqa: S608  # our own text
SELECT_LEASE = "SELECT lease_until FROM ingest_files WHERE org_id = $1 AND file_id = $2 AND state = 'loading'"

EXTEND = """
    UPDATE ingest_files SET lease_until = $3, got_bytes = $4, got_rows = $5, got_since = $6, got_at = $7
    WHERE file_id = $1 AND claim_id = $2 AND state = 'loading'
"""

# Only of a file that was read by the same mapping and still has all of its rows, the first that was loaded; and not in
# place of what says something else, whose rows must be compared with these, nor for what was read once before. Nor
# where the newer time decides who is right.
SELECT_SAME_BYTES = """
    SELECT r.file_id FROM ingest_files f JOIN ingest_files n ON n.file_id = $3
    JOIN ingest_files r ON r.file_id = coalesce(f.same_as, f.file_id) AND r.read_by = $4::jsonb
    WHERE f.org_id = $1 AND f.sha256 = $2 AND f.state = 'done' AND f.superseded_by IS NULL AND f.file_id <> n.file_id
      AND n.settled_at IS NULL AND NOT EXISTS (
        SELECT FROM ingest_files o WHERE o.source_id = n.source_id AND o.path = n.path AND o.state = 'done'
          AND o.superseded_by IS NULL AND o.file_id <> n.file_id
          AND (o.sha256 IS DISTINCT FROM $2 OR o.read_by IS DISTINCT FROM $4 OR o.mtime > n.mtime))
      AND NOT EXISTS (
        SELECT FROM ingest_files v
        JOIN event_repeats e ON e.org_id = $1 AND e.file_id = v.file_id AND e.said IS NOT NULL
        WHERE v.source_id = r.source_id AND v.path = r.path)
    ORDER BY (f.source_id, f.path) = (n.source_id, n.path) DESC, f.settled_at LIMIT 1
"""

SETTLE = """
    UPDATE ingest_files SET state = $3, sha256 = $4, rows = $5, rejects = $6, fresh = $7, same_as = $8, error = $9,
        settled_at = $10, read_by = $11, claim_id = NULL, lease_until = NULL
    WHERE file_id = $1 AND claim_id = $2 AND state = 'loading'
"""

GIVE_BACK = """
    UPDATE ingest_files SET claim_id = NULL, lease_until = NULL, error = $3, attempts = attempts + $4,
        state = CASE WHEN attempts + $4 >= $5 THEN 'failed' ELSE 'queued' END
    WHERE file_id = $1 AND claim_id = $2 AND state = 'loading'
"""

LIST_AGAIN = """
    UPDATE ingest_files SET claim_id = NULL, lease_until = NULL, error = $3, state = 'listed',
        first_seen_at = CASE WHEN $4 THEN $5 ELSE first_seen_at END, last_seen_at = $5
    WHERE file_id = $1 AND claim_id = $2 AND state = 'loading'
"""


class Ledger:
    """What became of each version of each file."""

    def __init__(self, database: Database, *, lease: timedelta, max_attempts: int) -> None:
        self._database, self._lease, self._max_attempts = database, lease, max_attempts

    async def record_listing(self, source: Source, listing: Sequence[tuple[UUID, Listed]], now: datetime) -> None:
        """Each (id for a new row, file) of a whole listing. Safe to repeat."""
        columns = ([n for n, _ in listing], *zip(*(f for _, f in listing), strict=True)) if listing else ([],) * 5
        async with self._database.transaction(source.org_id) as connection:
            await connection.execute(RECORD_NEW, source.org_id, source.source_id, now, *columns)
            await connection.execute(RECORD_SEEN, source.org_id, source.source_id, now, *columns[1:])
            await connection.execute(KEEP_UNSEEN, source.org_id, source.source_id, now)
            await connection.execute(FORGET_UNSEEN, source.org_id, source.source_id, now)

    async def read_again(self, source: Source, files: Sequence[Listed], now: datetime) -> None:
        """What was settled of these files is loaded once more; the source says how many there were."""
        columns = zip(*files, strict=True) if files else ([],) * 4
        async with self._database.transaction(source.org_id) as connection:
            await connection.execute(READ_AGAIN, source.org_id, source.source_id, now, *columns)

    async def candidates(
        self, source: Source, now: datetime, *, stable: timedelta, requeue: timedelta, most: int
    ) -> list[UUID]:
        """Files to queue now, oldest first: lost on their way for `requeue`, or unchanged for `stable` in the last
        listing; of the latter so many that `most` are on their way."""
        async with self._database.transaction(source.org_id) as connection:
            rows = await connection.fetch(
                SELECT_CANDIDATES, source.org_id, source.source_id, now, stable, requeue, most
            )
        return [row["file_id"] for row in rows]

    async def mark_queued(self, org_id: UUID, file_id: UUID, now: datetime) -> None:
        async with self._database.transaction(org_id) as connection:
            await connection.execute(MARK_QUEUED, org_id, file_id, now)

    async def claim(self, org_id: UUID, file_id: UUID, claim_id: UUID, now: datetime) -> Claimed | None:
        """The file, ours until the lease ends; None when it is done or unknown. Raises Throttled while it is
        somebody else's."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(CLAIM, org_id, file_id, claim_id, now + self._lease, now)
            if row is None and (lease_until := await connection.fetchval(SELECT_LEASE, org_id, file_id)):
                wait_s = max(1.0, (lease_until - now).total_seconds())
                raise Throttled("another worker has the file", wait_s=wait_s, reason="file_taken")
        if row is None:
            return None
        listed = Listed(row["file_path"], row["size"], row["mtime"], row["tag"])
        return Claimed(file_id, claim_id, listed, source_of(row), row["accepted"])

    async def extend(self, file: Claimed, got: Got, now: datetime) -> bool:
        """Whether the file is still ours; then it is for another lease, and shows how far it is."""
        async with self._database.transaction(file.source.org_id) as connection:
            status = await connection.execute(
                EXTEND, file.file_id, file.claim_id, now + self._lease, got.bytes, got.rows, got.since, now
            )
        return status == "UPDATE 1"

    async def same_bytes(self, file: Claimed, sha256: str) -> UUID | None:
        """A file of this org that was loaded with these very bytes, as this one would be read."""
        async with self._database.transaction(file.source.org_id) as connection:
            found: UUID | None = await connection.fetchval(SELECT_SAME_BYTES, *_asked(file, sha256))
        return found

    async def settle_as_same(self, file: Claimed, sha256: str, same_as: UUID, now: datetime) -> bool:
        """False when the other file has been replaced, or read otherwise, meanwhile: then this one must be loaded."""
        org_id = file.source.org_id
        async with self._database.connection(STATEMENT_TIMEOUT_S) as connection, connection.transaction():
            await begin_switch(connection, org_id)
            if same_as != await connection.fetchval(SELECT_SAME_BYTES, *_asked(file, sha256)):
                return False
            if await settle(connection, file, "done", now, sha256=sha256, same_as=same_as):
                await connection.execute(SUPERSEDE, org_id, file.file_id)
        return True

    async def give_back(self, file: Claimed, error: str, *, attempts: int) -> None:
        """It was not loaded; `attempts` are spent. Past the most attempts it has failed."""
        async with self._database.transaction(file.source.org_id) as connection:
            await connection.execute(
                GIVE_BACK, file.file_id, file.claim_id, kept_error(error), attempts, self._max_attempts
            )

    async def list_again(self, file: Claimed, error: str, now: datetime, *, changed: bool) -> None:
        """The next listings decide about it; when it has changed, it must be seen unchanged from now on."""
        async with self._database.transaction(file.source.org_id) as connection:
            await connection.execute(LIST_AGAIN, file.file_id, file.claim_id, kept_error(error), changed, now)


def _asked(file: Claimed, sha256: str) -> tuple[object, ...]:
    return file.source.org_id, sha256, file.file_id, file.source.mapping or {}


async def settle(
    connection: Connection,
    file: Claimed,
    state: str,
    now: datetime,
    *,
    sha256: str | None = None,
    loaded: Loaded = _NOTHING,
    same_as: UUID | None = None,
    error: str | None = None,
) -> bool:
    """Within the caller's transaction. False when the file is no longer ours: then nothing may be kept."""
    status = await connection.execute(
        SETTLE,
        file.file_id,
        file.claim_id,
        state,
        sha256,
        loaded.rows,
        loaded.rejects,
        loaded.fresh,
        same_as,
        error and kept_error(error),
        now,
        file.source.mapping or {},
    )
    return bool(status == "UPDATE 1")
