"""Rows of one file wait in temporary tables; then one transaction makes them facts, or nothing happened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta

import asyncpg

from services.ingest.attribution.ahead import CREATE_READY, DROP_READY, Ahead
from services.ingest.attribution.attribute import recompute_sends
from services.ingest.attribution.conversions import orders_of
from services.ingest.loading.deleted_people import reject_deleted
from services.ingest.loading.fresh import CREATE_AGAIN, DROP_AGAIN, FIRST_DAILY_PARTITION, Fresh
from services.ingest.loading.retract import Tellers
from services.ingest.loading.switch import (
    BEGIN_LONG_WORK,
    CREATE_WORK_TABLES,
    DROP_WORK_TABLES,
    EVENTS_SINCE,
    STATEMENT_TIMEOUT_S,
    begin_long_work,
    begin_switch,
)
from services.ingest.records import STAGED, Claimed, Event, Loaded, Piece, Reject
from services.ingest.store import settle
from shared.api_keys import Peppers
from shared.db.pool import SCOPE_TO_ORG, Connection, Database
from shared.errors import Transient

_FILE_TIMEOUT_S = 2 * 3600.0  # more than a handler gets: its own time limit must be the one that strikes

# Temporary: no WAL, no vacuum, gone with the connection, so a killed worker leaves nothing behind.
CREATE_STAGING = """
    DROP TABLE IF EXISTS pg_temp.staged, pg_temp.staged_rejects;
    CREATE TEMP TABLE staged (
        line int, event_at timestamptz, day date, event_id text, metric text, profile_id text, message_id text,
        flow_id text, transmission_id text, handoff_at timestamptz, machine_open bool, bot_click bool, url text,
        value float8, currency text, order_id text
    );
    CREATE TEMP TABLE staged_rejects (line int, reason text, raw text);
"""
DROP_STAGING = "DROP TABLE IF EXISTS pg_temp.staged, pg_temp.staged_rejects"

SELECT_DAYS = "SELECT DISTINCT day FROM staged"
ENSURE_PARTITION = "SELECT ensure_partition('events', $1)"

# Locks the ledger's row until the end: whoever claims the file next waits, and finds it done.
KEEP_CLAIM = "SELECT true FROM ingest_files WHERE file_id = $1 AND claim_id = $2 AND state = 'loading' FOR UPDATE"

DELETE_REJECTS = "DELETE FROM ingest_rejects WHERE org_id = $1 AND file_id = $2"
INSERT_REJECTS = """
    INSERT INTO ingest_rejects (org_id, file_id, line, reason, raw)
    SELECT $1, $2, line, reason, raw FROM staged_rejects ORDER BY line LIMIT $3
"""
_REJECTS_OF_HELD = 1000  # tell what is wrong with the file; it is read again anyway

# Of days whose events are gone: what was made of them stays, and would count them twice.
SELECT_SINCE = f"SELECT {EVENTS_SINCE}"
REJECT_OLD = """
    WITH old AS (
        DELETE FROM staged WHERE day < $1 RETURNING line
    ), told AS (
        INSERT INTO staged_rejects SELECT line, 'older than events are kept', '' FROM old ORDER BY line LIMIT $2
    )
    SELECT count(*) FROM old
"""


# Around rows in COPY's binary form.
_COPY_BEGIN, _COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


class LeaseLost(Transient):
    """Somebody else has taken the file over; nothing of ours was kept."""


class Staged:
    """The rows of one file on their way in."""

    def __init__(self, connection: Connection, file: Claimed, window: timedelta, peppers: Peppers) -> None:
        self._connection, self._file, self._window, self._peppers = connection, file, window, peppers
        self._ahead = Ahead(connection, file.source.org_id, window)
        self._fresh = Fresh(connection, file.source.org_id)
        self._days: list[date] = []

    async def add(self, piece: Piece) -> None:
        """Stage a bounded piece."""
        if piece.events:
            days = ((*event, event.event_at.date()) for event in piece.events)
            await self._connection.copy_records_to_table("staged", records=days, columns=(*Event._fields, "day"))
        if piece.copied:
            source = _around(piece.copied)
            await self._connection.copy_to_table("staged", source=source, columns=STAGED, format="binary")
        if piece.rejects:
            await self._connection.copy_records_to_table(
                "staged_rejects", records=piece.rejects, columns=Reject._fields
            )

    async def prepare(self) -> None:
        """What of the switch need not hold its locks; once all pieces are there. It may take minutes."""
        await self._make_partitions()
        async with self._connection.transaction():
            await begin_long_work(self._connection, self._file.source.org_id)
            await self._connection.execute("ANALYZE staged")
            await self._fresh.note_twice()

    async def switch(self, loaded: Loaded, sha256: str, now: datetime) -> Loaded:
        """Events, sends, rollups, rejects and the ledger change together. Raises LeaseLost, and Changed
        when a later version of the file was loaded meanwhile."""
        connection, org_id, file_id = self._connection, self._file.source.org_id, self._file.file_id
        async with connection.transaction():
            await begin_switch(connection, org_id)
            if not await connection.fetchval(KEEP_CLAIM, file_id, self._file.claim_id):
                raise LeaseLost("another worker took the file over", reason="lease_lost")
            loaded = replace(loaded, rejects=loaded.rejects + await self._reject_old() + await self._reject_deleted())
            tellers = await Tellers.look(connection, self._file)
            await self._fresh.keep_fresh(self._days, loaded.rows)
            await self._ahead.foretell()
            orders = await orders_of(connection, org_id)
            loaded = replace(loaded, fresh=await self._fresh.insert(file_id, orders.metrics, now))
            loaded = await tellers.take_over(orders, loaded)
            await self._ahead.add(orders)
            await recompute_sends(connection, orders, org_id, self._window)
            await self._keep_rejects(None)
            await settle(connection, self._file, "done", now, sha256=sha256, loaded=loaded)
        return loaded

    async def hold(self, loaded: Loaded, sha256: str, error: str, now: datetime) -> None:
        """No event is kept; what is wrong with the file is. Raises LeaseLost."""
        async with self._connection.transaction():
            await self._connection.execute(SCOPE_TO_ORG, str(self._file.source.org_id))
            if not await settle(self._connection, self._file, "held", now, sha256=sha256, loaded=loaded, error=error):
                raise LeaseLost("another worker took the file over", reason="lease_lost")
            await self._keep_rejects(_REJECTS_OF_HELD)

    async def _keep_rejects(self, most: int | None) -> None:
        ids = self._file.source.org_id, self._file.file_id
        await self._connection.execute(DELETE_REJECTS, *ids, timeout=STATEMENT_TIMEOUT_S)
        await self._connection.execute(INSERT_REJECTS, *ids, most, timeout=STATEMENT_TIMEOUT_S)

    async def _reject_old(self) -> int:
        """Take out rows of days whose events are gone; how many they were."""
        since: date = await self._connection.fetchval(SELECT_SINCE)
        if not self._days or self._days[0] >= since:
            return 0
        self._days = [day for day in self._days if day >= since]
        rejects: int = await self._connection.fetchval(REJECT_OLD, since, _REJECTS_OF_HELD, timeout=STATEMENT_TIMEOUT_S)
        return rejects

    async def _reject_deleted(self) -> int:
        if not self._days:
            return 0
        org_id = self._file.source.org_id
        return await reject_deleted(self._connection, org_id, self._peppers, self._days[0], _REJECTS_OF_HELD)

    async def _make_partitions(self) -> None:
        """Apart from the switch: until its transaction ends, whoever needs another new day waits."""
        rows = await self._connection.fetch(SELECT_DAYS, timeout=STATEMENT_TIMEOUT_S)
        self._days = sorted(row["day"] for row in rows)
        since = await self._connection.fetchval(SELECT_SINCE)
        for day in self._days:
            if day >= max(since, FIRST_DAILY_PARTITION):
                async with self._connection.transaction():
                    await self._connection.execute(BEGIN_LONG_WORK)
                    await self._connection.execute(ENSURE_PARTITION, day, timeout=STATEMENT_TIMEOUT_S)


async def _around(copied: bytes | memoryview) -> AsyncIterator[bytes]:
    for part in (_COPY_BEGIN, bytes(copied), _COPY_END):
        yield part


class Stagings:
    """Opens a place to stage."""

    def __init__(self, database: Database, *, window: timedelta, peppers: Peppers) -> None:
        self._database, self._window, self._peppers = database, window, peppers

    @asynccontextmanager
    async def open(self, file: Claimed) -> AsyncIterator[Staged]:
        """Empty tables on a connection of our own, dropped afterwards. Raises Transient for a file over whose rows one
        statement takes longer, or needs more, than the server lets it: such a file must fail in the end."""
        async with self._database.connection(_FILE_TIMEOUT_S) as connection:
            async with connection.transaction():
                await connection.execute(SCOPE_TO_ORG, str(file.source.org_id))
                await connection.execute(CREATE_STAGING)
                await connection.execute(CREATE_READY)
                await connection.execute(CREATE_AGAIN)
                await connection.execute(CREATE_WORK_TABLES)
            try:
                yield Staged(connection, file, self._window, self._peppers)
            except asyncpg.QueryCanceledError as error:
                raise Transient(
                    "one statement over its rows took the database too long; give it in smaller pieces, or see what "
                    "keeps the database",
                    reason="too_long",
                ) from error
            except (asyncpg.OutOfMemoryError, asyncpg.ConfigurationLimitExceededError) as error:
                raise Transient(
                    "one statement over its rows needs more memory or disk than the database has for it; give it in "
                    "smaller pieces, or see what else takes them",
                    reason="too_much",
                ) from error
            finally:
                if not connection.is_closed():
                    await connection.execute(DROP_STAGING)
                    await connection.execute(DROP_READY)
                    await connection.execute(DROP_AGAIN)
                    await connection.execute(DROP_WORK_TABLES)
