"""Another name for the same bytes, in SQL: before the file whose rows it stands for is replaced, it gets a word of its
own for each of them (retract.py)."""

from collections.abc import Sequence
from uuid import UUID

from services.ingest.loading.switch import STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

SELECT_COPY = """
    SELECT file_id FROM ingest_files
    WHERE org_id = $1 AND same_as = ANY ($2::uuid[]) AND file_id <> ALL ($2)
      AND state = 'done' AND superseded_by IS NULL
    ORDER BY settled_at, file_id LIMIT 1
"""
NOTE_REPEATS_OF_COPY = """
    INSERT INTO event_repeats (org_id, day, event_id, file_id, line, said)
    SELECT $1, day, event_id, $3, line, said FROM event_repeats WHERE org_id = $1 AND file_id = ANY ($2::uuid[])
    ON CONFLICT DO NOTHING
"""
NOTE_ROWS_OF_COPY = """
    INSERT INTO event_repeats (org_id, day, event_id, file_id, line)
    SELECT $1, day, event_id, $3, line FROM events WHERE org_id = $1 AND file_id = ANY ($2::uuid[])
    ON CONFLICT DO NOTHING
"""
LET_COPY_SPEAK = """
    UPDATE ingest_files SET same_as = nullif($3, file_id), held = CASE WHEN file_id = $3 THEN 0 ELSE held END
    WHERE org_id = $1 AND same_as = ANY ($2::uuid[]) AND file_id <> ALL ($2)
"""


async def let_copies_speak(connection: Connection, org_id: UUID, versions: Sequence[UUID]) -> None:
    """Of a file's versions. Within the switch's transaction, which holds LOCK_ORG."""
    copy = await connection.fetchval(SELECT_COPY, org_id, versions)
    if copy is not None:
        # Its own words first: where others filled in what a row leaves out, those are noted.
        for statement in (NOTE_REPEATS_OF_COPY, NOTE_ROWS_OF_COPY, LET_COPY_SPEAK):
            await connection.execute(statement, org_id, versions, copy, timeout=STATEMENT_TIMEOUT_S)
