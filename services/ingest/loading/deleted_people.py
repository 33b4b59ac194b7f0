"""What a file tells of people who were deleted since it happened.

A window of Klaviyo's, or a file that is loaded again, tells of somebody as if nothing had been. The audit log keeps a
proof of each deletion, which names nobody: whoever is told of is asked for theirs. Where no deletion is younger than
the file's first day, as it mostly is, nobody is asked.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final
from uuid import UUID

from services.ingest.loading.switch import STATEMENT_TIMEOUT_S
from shared.api_keys import Peppers
from shared.db.pool import Connection
from shared.person_proof import proofs_of

SELECT_PROOFS: Final = """
    SELECT (results ->> 'proof')::uuid AS proof, max(at) AS at FROM audit_log
    WHERE org_id = $1 AND operation = 'person.delete' AND at >= $2::date::timestamp AT TIME ZONE 'UTC' GROUP BY 1
"""
SELECT_PEOPLE: Final = "SELECT DISTINCT profile_id FROM staged WHERE event_at <= $1"
REJECT_THEIRS: Final = """
    WITH theirs AS (
        DELETE FROM staged s USING unnest($1::text[], $2::timestamptz[]) AS gone (profile_id, at)
        WHERE s.profile_id = gone.profile_id AND s.event_at <= gone.at RETURNING s.line
    ), told AS (
        INSERT INTO staged_rejects SELECT line, 'of a person who was deleted', '' FROM theirs ORDER BY line LIMIT $3
    )
    SELECT count(*) FROM theirs
"""
_PEOPLE_AT_ONCE: Final = 2_000  # whose proofs take some milliseconds


async def reject_deleted(connection: Connection, org_id: UUID, peppers: Peppers, first: date, most: int) -> int:
    """Take out rows of before their person's deletion; how many they were. Under the org's lock, which a deletion takes
    too. `first`: the first day that the file tells of; `most`: so many are told line by line."""
    rows = await connection.fetch(SELECT_PROOFS, org_id, first, timeout=STATEMENT_TIMEOUT_S)
    if not rows:
        return 0
    gone = await _gone(connection, org_id, peppers, {row["proof"]: row["at"] for row in rows})
    if not gone:
        return 0
    rejects: int = await connection.fetchval(
        REJECT_THEIRS, list(gone), list(gone.values()), most, timeout=STATEMENT_TIMEOUT_S
    )
    return rejects


async def _gone(
    connection: Connection, org_id: UUID, peppers: Peppers, deletions: Mapping[UUID, datetime]
) -> dict[str, datetime]:
    """Who of the file's people was deleted, and when."""
    gone: dict[str, datetime] = {}
    cursor = await connection.cursor(SELECT_PEOPLE, max(deletions.values()), timeout=STATEMENT_TIMEOUT_S)
    while people := await cursor.fetch(_PEOPLE_AT_ONCE, timeout=STATEMENT_TIMEOUT_S):
        for (person,) in people:
            if moments := [deletions[proof] for proof in proofs_of(peppers, org_id, person) if proof in deletions]:
                gone[person] = max(moments)
    return gone
