"""Sends whose delivery was taken back, in SQL: an email that no event says was sent is none."""

from uuid import UUID

from services.ingest.attribution.conversions import Orders
from services.ingest.counting.rollups import note_counted
from services.ingest.loading.switch import EVENTS_SINCE, STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

# As tallies, for whoever notes cells and places asks there.
NOTE_UNSENT = f"""
    INSERT INTO tallies (transmission_id)
    SELECT s.transmission_id FROM (SELECT DISTINCT transmission_id FROM touched WHERE n = 0) t
    JOIN sends s ON s.org_id = $1 AND s.transmission_id = t.transmission_id
    WHERE s.day > {EVENTS_SINCE} AND NOT EXISTS (
        SELECT FROM events e WHERE e.org_id = $1 AND e.transmission_id = s.transmission_id
          AND e.metric IN ('Received Email', 'Bounced Email', 'Dropped Email'))
"""  # noqa: S608  # our own text
# What named no transmission and was this send's may be another's of the same person and message.
NOTE_LOOSE = """
    INSERT INTO loose (profile_id, message_id)
    SELECT s.profile_id, s.message_id FROM tallies t
    JOIN sends s ON s.org_id = $1 AND s.transmission_id = t.transmission_id WHERE s.message_id IS NOT NULL
"""
DELETE_SENDS = """
    DELETE FROM sends s USING tallies t WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id
"""


async def drop_unsent(connection: Connection, orders: Orders, org_id: UUID) -> None:
    """Delete sends that have lost their delivery, and note what they were part of. Before `recompute_sends`, within its
    transaction; looks at what was touched without a fresh event."""
    await connection.execute("ANALYZE touched")
    await connection.execute(NOTE_UNSENT, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute("ANALYZE tallies")
    await note_counted(connection, org_id)
    await orders.note_places(-1)
    await connection.execute(NOTE_LOOSE, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(DELETE_SENDS, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute("TRUNCATE tallies")
