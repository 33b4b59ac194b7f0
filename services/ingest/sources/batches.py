"""Batches of Klaviyo's system webhooks as a source: a folder whose files are minutes in which some came, an event a
line.

A minute is listed when it is over. A batch whose transaction ended later makes it another version of the file, which is
read again; events are told apart by their id. Batches are kept for a day after their minute was loaded.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from services.ingest.records import Changed, Listed, Listing, Source, SourceUnreachable
from services.ingest.sources.folders import READ_BYTES
from shared.clock import Clock
from shared.db.pool import Database

KEEP: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)
_NAME: Final = "%Y-%m-%dT%H:%MZ"

SELECT_HOOK: Final = "SELECT true FROM event_hooks WHERE org_id = $1 AND source_id = $2"
SELECT_MINUTES: Final = """
    SELECT date_trunc('minute', received_at) AS minute, sum(bytes)::bigint AS size, max(received_at) AS newest_at
    FROM event_batches WHERE org_id = $1 AND source_id = $2 AND received_at < date_trunc('minute', $3::timestamptz)
    GROUP BY 1 ORDER BY 1
"""
SELECT_MINUTE: Final = """
    SELECT sum(bytes)::bigint AS size, max(received_at) AS newest_at FROM event_batches
    WHERE org_id = $1 AND source_id = $2 AND received_at >= $3 AND received_at < $4
"""
SELECT_IDS: Final = """
    SELECT batch_id FROM event_batches
    WHERE org_id = $1 AND source_id = $2 AND received_at >= $3 AND received_at < $4 ORDER BY received_at, batch_id
"""
SELECT_LINES: Final = "SELECT lines FROM event_batches WHERE org_id = $1 AND batch_id = $2"
# Whole minutes only: what is left of one would be another version of its file, which lacks the others' events. And only
# once this very version was loaded: a batch whose transaction ended late need not be the newest of its minute.
FORGET_LOADED: Final = """
    WITH minutes AS (
        SELECT date_trunc('minute', received_at) AS minute, sum(bytes) AS size, max(received_at) AS newest_at
        FROM event_batches
        WHERE org_id = $1 AND source_id = $2 AND received_at < date_trunc('minute', $3::timestamptz) GROUP BY 1
    )
    DELETE FROM event_batches b USING minutes m
    WHERE b.org_id = $1 AND b.source_id = $2
      AND b.received_at >= m.minute AND b.received_at < m.minute + interval '1 minute'
      AND EXISTS (
        SELECT FROM ingest_files f
        WHERE f.source_id = $2 AND f.state = 'done' AND f.size = m.size AND f.mtime = m.newest_at
          AND f.path = to_char(m.minute AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'))
"""


class BatchFolder:
    """One source's minutes."""

    def __init__(self, database: Database, source: Source, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._ids = (source.org_id, source.source_id)

    async def list(self) -> Listing:
        """See Folder."""
        now = self._clock.now()
        async with self._database.transaction(self._ids[0]) as connection:
            await connection.execute(FORGET_LOADED, *self._ids, now - KEEP)
            rows = await connection.fetch(SELECT_MINUTES, *self._ids, now)
        return Listing([Listed(f"{row['minute']:{_NAME}}", row["size"], row["newest_at"]) for row in rows], 0)

    async def look(self, path: str) -> Listed:
        """See Folder."""
        async with self._database.transaction(self._ids[0]) as connection:
            row = await connection.fetchrow(SELECT_MINUTE, *self._ids, *_minute(path))
        if row is None or row["size"] is None:
            raise Changed(f"no batch of {path} is kept any more", reason="file_gone")
        return Listed(path, row["size"], row["newest_at"])

    async def read(self, path: str, at_most: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """See Folder; batches in the order in which they came."""
        async with self._database.transaction(self._ids[0]) as connection:
            batches = [row["batch_id"] for row in await connection.fetch(SELECT_IDS, *self._ids, *_minute(path))]
        skip, left = start, at_most
        for batch_id in batches:
            async with self._database.transaction(self._ids[0]) as connection:
                lines: bytes = await connection.fetchval(SELECT_LINES, self._ids[0], batch_id) or b""
            cut = lines[skip:][:left]
            skip, left = max(0, skip - len(lines)), left - len(cut)
            for offset in range(0, len(cut), READ_BYTES):
                yield cut[offset : offset + READ_BYTES]
            if left <= 0:
                return


class BatchFolders:
    """Opens sources of kind `webhook`."""

    steps: tuple[str, ...] = ("Find the hook",)

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[BatchFolder]:
        """Raises SourceUnreachable."""
        async with self._database.transaction(source.org_id) as connection:
            found = await connection.fetchval(SELECT_HOOK, source.org_id, source.source_id)
        if not found:
            raise SourceUnreachable("the source has no hook; make one with `justai source hook`", reason="no_hook")
        yield BatchFolder(self._database, source, self._clock)

    @asynccontextmanager
    async def reach(self, source: Source, done: Callable[[str], None]) -> AsyncIterator[BatchFolder]:
        """See Opener."""
        async with self.open(source) as folder:
            done("Klaviyo may send events to it.")
            yield folder


def _minute(path: str) -> tuple[datetime, datetime]:
    try:
        since = datetime.strptime(path, _NAME).replace(tzinfo=UTC)
    except ValueError:
        raise Changed(f"{path} is no minute", reason="file_gone") from None
    return since, since + _MINUTE
