"""Which rows of a file are new, and those into `events`.

Under the org's lock nobody else adds an event of it, so what is known can be asked for first, and the rest is inserted
plainly. ON CONFLICT would write each row as a doubtful one and look for its id twice. The unique index still stands
behind it. Rows that are told again leave `staged` for `again`: all that is computed from `staged` is of fresh ones.
"""

from datetime import date, datetime
from typing import Final
from uuid import UUID

from services.ingest.loading.switch import STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

FIRST_DAILY_PARTITION: Final = date(2026, 1, 1)
"""Days before this lie in one partition, made by the migration."""

_MOST_DAYS: Final = 8  # that are asked one by one, which reads the file's rows as often; else each row finds its own
_SHORT_DAY_BYTES: Final = 3 * 230  # for each row of the file: so many events of about so many bytes

# `repeated`: rows of `staged`, by where they lie; it is only ever added to until they leave.
CREATE_AGAIN = """
    DROP TABLE IF EXISTS pg_temp.repeated, pg_temp.again;
    CREATE TEMP TABLE repeated (at tid);
    CREATE TEMP TABLE again (LIKE pg_temp.staged);
"""
DROP_AGAIN = "DROP TABLE IF EXISTS pg_temp.repeated, pg_temp.again"

HAS_TWICE = """
    SELECT EXISTS (
        SELECT FROM staged GROUP BY event_id, day HAVING count(*) > 1)
"""
# Of one id the first row is inserted.
NOTE_TWICE = """
    INSERT INTO repeated
    SELECT at FROM (
        SELECT ctid AS at, row_number() OVER (PARTITION BY event_id, day ORDER BY ctid) AS nth FROM staged
    ) s WHERE nth > 1
"""
# Each row is looked for by its id: of a day that has just begun the planner knows nothing, and would join all with all.
NOTE_KNOWN_OF_DAY = """
    INSERT INTO repeated
    SELECT s.ctid FROM staged s CROSS JOIN LATERAL (
        SELECT FROM events e WHERE e.org_id = $1 AND e.event_id = s.event_id AND e.day = $2 OFFSET 0) e
    WHERE s.day = $2
"""
# Where the day is not much longer than the file, reading it through takes less than looking for each row.
NOTE_KNOWN_IN_SHORT_DAY = """
    INSERT INTO repeated
    SELECT s.ctid FROM staged s JOIN events e ON e.event_id = s.event_id
    WHERE e.org_id = $1 AND e.day = $2 AND s.day = $2
"""
SELECT_BYTES = "SELECT coalesce(pg_relation_size(to_regclass(to_char($1::date, '\"events_\"YYYYMMDD'))), 0)"
NOTE_KNOWN_OF_DAYS = """
    INSERT INTO repeated
    SELECT s.ctid FROM staged s CROSS JOIN LATERAL (
        SELECT FROM events e
        WHERE e.org_id = $1 AND e.event_id = s.event_id AND e.day = s.day AND e.day BETWEEN $2 AND $3 OFFSET 0) e
"""

MOVE_REPEATED = """
    WITH moved AS (
        DELETE FROM staged s USING (SELECT DISTINCT at FROM repeated) r WHERE s.ctid = r.at RETURNING s.*
    )
    INSERT INTO again SELECT * FROM moved
"""
INSERT_EVENTS = """
    INSERT INTO events (day, org_id, event_id, metric, profile_id, event_at, message_id, flow_id, transmission_id,
        handoff_at, machine_open, bot_click, url, value, currency, order_id, file_id, line)
    SELECT day, $1, event_id, metric, profile_id, event_at, message_id, flow_id,
        transmission_id, handoff_at, machine_open, bot_click, url, value, currency, order_id, $2, line
    FROM staged
"""
NOTE_LOOSE = """
    INSERT INTO loose
    SELECT profile_id, message_id, event_at, handoff_at FROM staged
    WHERE transmission_id IS NULL AND message_id IS NOT NULL
"""
NOTE_BOUGHT = """
    INSERT INTO bought
    SELECT event_id, day FROM staged
    WHERE transmission_id IS NULL AND lower(metric) = ANY ($1::text[])
"""
# An event of the future is of a clock that is wrong. The first file since the table is there may be an old one, while
# emails of yesterday are known: as of its newest event, the ranker would forget them. The newest send is found by
# index, of each template.
NOTE_UNTIL = """
    INSERT INTO known_events AS k (org_id, emails_until)
    SELECT $1, greatest(max(event_at), CASE WHEN NOT EXISTS (SELECT FROM known_events WHERE org_id = $1) THEN (
        SELECT max(s.sent_at) FROM templates t
        CROSS JOIN LATERAL (
            SELECT day FROM sends
            WHERE org_id = $1 AND template_id = t.template_id AND day <= ($2::timestamptz AT TIME ZONE 'UTC')::date
            ORDER BY day DESC LIMIT 1) newest
        CROSS JOIN LATERAL (
            SELECT sent_at FROM sends
            WHERE org_id = $1 AND template_id = t.template_id AND day = newest.day AND sent_at <= $2) s
        WHERE t.org_id = $1
    ) END)
    FROM staged WHERE transmission_id IS NOT NULL AND event_at <= $2 HAVING count(*) > 0
    ON CONFLICT (org_id) DO UPDATE SET emails_until = excluded.emails_until
    WHERE k.emails_until < excluded.emails_until
"""


class Fresh:
    """The rows of one file, on the connection that stages it; days are UTC."""

    def __init__(self, connection: Connection, org_id: UUID) -> None:
        self._connection, self._org_id = connection, org_id

    async def note_twice(self) -> None:
        """Rows whose id the file itself has before. Once all rows are there."""
        if await self._connection.fetchval(HAS_TWICE, timeout=STATEMENT_TIMEOUT_S):
            await self._connection.execute(NOTE_TWICE, timeout=STATEMENT_TIMEOUT_S)

    async def keep_fresh(self, days: list[date], rows: int) -> None:
        """Only those whose ids are not known. Under the org's lock, before any is inserted. `days`: of the rows, in
        order."""
        if len(days) > _MOST_DAYS:
            await self._run(NOTE_KNOWN_OF_DAYS, days[0], days[-1])
        else:
            for day in days:
                await self._note_known_of(day, rows // len(days))
        if await self._connection.fetchval("SELECT EXISTS (SELECT FROM repeated)"):
            await self._connection.execute("ANALYZE repeated")
            await self._connection.execute(MOVE_REPEATED, timeout=STATEMENT_TIMEOUT_S)

    async def _note_known_of(self, day: date, rows: int) -> None:
        day_bytes: int = await self._connection.fetchval(SELECT_BYTES, day)
        if day < FIRST_DAILY_PARTITION or day_bytes > rows * _SHORT_DAY_BYTES:
            await self._run(NOTE_KNOWN_OF_DAY, day)
        elif day_bytes:
            await self._connection.execute("SET LOCAL enable_nestloop = off")
            await self._run(NOTE_KNOWN_IN_SHORT_DAY, day)
            await self._connection.execute("SET LOCAL enable_nestloop = on")

    async def insert(self, file_id: UUID, counted: list[str], now: datetime) -> int:
        """They become events. Returns how many; notes those that name no email, those of metrics that are `counted`,
        and how far emails are told of."""
        status = await self._connection.execute(INSERT_EVENTS, self._org_id, file_id, timeout=STATEMENT_TIMEOUT_S)
        await self._connection.execute(NOTE_LOOSE, timeout=STATEMENT_TIMEOUT_S)
        if counted:
            await self._connection.execute(NOTE_BOUGHT, counted, timeout=STATEMENT_TIMEOUT_S)
        await self._run(NOTE_UNTIL, now)
        return int(str(status).rpartition(" ")[2])

    async def _run(self, statement: str, *arguments: object) -> None:
        await self._connection.execute(statement, self._org_id, *arguments, timeout=STATEMENT_TIMEOUT_S)
