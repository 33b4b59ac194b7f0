"""Sends that one file tells the whole of, made before its switch and added in it, all at once.

Most emails in a fresh file are new: no event and no send of theirs is in the database. What their events say
together, and which generation they showed, follows from the file alone, so it is computed while other files of the org
may switch (`ready`). The switch, which holds the org's lock, then proves for each of them that it is so: no event and
no send of it was there, every row of it in the file was fresh, and no event without a transmission is about its person
and message. These become sends as they are. All others go the way of `attribute`, which computes from the events
whatever was touched.
"""

from datetime import date, timedelta
from uuid import UUID

from services.ingest.attribute import (
    ATTRIBUTION,
    FACTS,
    GENERATIONS,
    MARK_UNMATCHED,
    SELECT_LOOKBACK_DAYS,
    STATEMENT_TIMEOUT_S,
    SUMS,
)
from services.ingest.conversions import Orders
from shared.db.pool import Connection

_TALLIED = """
    transmission_id, profile_id, message_id, flow_id, sent_at, day, delivered, bounced, unsubscribed, spam,
    first_open_at, human_opens, machine_opens, first_click_at, human_clicks, bot_clicks
""".strip()
_ATTRIBUTED = "attribution, generation_id, generation_day, template_id, copy_id, cell"

CREATE_READY = """
    DROP TABLE IF EXISTS pg_temp.ready;
    CREATE TEMP TABLE ready (
        transmission_id text, profile_id text, message_id text, flow_id text, sent_at timestamptz, day date,
        delivered bool, bounced bool, unsubscribed bool, spam bool, first_open_at timestamptz, human_opens int,
        machine_opens int, first_click_at timestamptz, human_clicks int, bot_clicks int, n bigint, attribution text,
        generation_id uuid, generation_day date, template_id text, copy_id uuid, cell text
    );
"""
DROP_READY = "DROP TABLE IF EXISTS pg_temp.ready"

# Events of more than a day before their send do not count, as where they are read from the events.
FORETELL = f"""
    INSERT INTO ready ({_TALLIED}, n, {_ATTRIBUTED})
    WITH facts AS (
        SELECT e.*,
            {FACTS}
        FROM staged e WHERE e.transmission_id IS NOT NULL
    ), t AS MATERIALIZED (
        SELECT *, (sent_at AT TIME ZONE 'UTC')::date AS day FROM (
            SELECT transmission_id,
            {SUMS},
            count(*) AS n
            FROM facts GROUP BY transmission_id
            HAVING bool_or(sending) AND (min(event_at) AT TIME ZONE 'UTC')::date
                >= (min(least(event_at, handoff_at)) FILTER (WHERE sending) AT TIME ZONE 'UTC')::date - 1
        ) s
    )
    SELECT {", ".join(f"t.{name.strip()}" for name in _TALLIED.split(","))}, t.n,
        {ATTRIBUTION}
    FROM t
    {GENERATIONS}
"""  # noqa: S608  # our own text

SELECT_SPAN = """
    SELECT (min(least(event_at, handoff_at)) AT TIME ZONE 'UTC')::date - 1 AS since,
        (min(event_at) AT TIME ZONE 'UTC')::date AS first
    FROM staged WHERE transmission_id IS NOT NULL AND metric IN ('Received Email', 'Bounced Email', 'Dropped Email')
"""

# Of what the attribution above depends on, whatever people may change meanwhile.
SELECT_SETUP = """
    SELECT md5(concat(
        (SELECT string_agg(f::text, ',' ORDER BY f::text) FROM flow_messages f WHERE org_id = $1),
        (SELECT string_agg(concat_ws(',', template_id, flow_id, treatment_action_id, delay_s, send_window_s), ';'
            ORDER BY template_id) FROM templates WHERE org_id = $1)))
"""

# Looked for from the first day on that an event of theirs could count.
DROP_KNOWN = """
    DELETE FROM ready r USING events e
    WHERE e.org_id = $1 AND e.transmission_id = r.transmission_id AND e.day >= $2
"""
DROP_SENDS = "DELETE FROM ready r USING sends s WHERE s.org_id = $1 AND s.transmission_id = r.transmission_id"
# Touched by every row of the file and by nothing else: by what another file's rows become, it is told with them.
DROP_REPEATED = """
    DELETE FROM ready r WHERE NOT EXISTS (
        SELECT FROM touched t WHERE t.transmission_id = r.transmission_id AND t.n = r.n
    ) OR EXISTS (SELECT FROM touched t WHERE t.transmission_id = r.transmission_id AND t.n <> r.n)
"""
SELECT_DAYS = "SELECT min(day) AS first, max(day) + 30 AS last FROM ready"
DROP_LOOSE = """
    DELETE FROM ready r USING (
        SELECT DISTINCT profile_id, message_id FROM events
        WHERE org_id = $1 AND transmission_id IS NULL AND message_id IS NOT NULL AND day BETWEEN $2 AND $3
    ) l WHERE l.profile_id = r.profile_id AND l.message_id = r.message_id
"""

INSERT_SENDS = f"""
    INSERT INTO sends (org_id, {_TALLIED}, {_ATTRIBUTED})
    SELECT $1, {_TALLIED}, {_ATTRIBUTED} FROM ready
"""  # noqa: S608  # our own text
NOTE_UNMATCHED = f"""
    WITH kept AS (SELECT day, message_id, attribution, true AS fresh FROM ready)
    {MARK_UNMATCHED}
"""  # noqa: S608  # our own text
NOTE_CELLS = """
    INSERT INTO cells SELECT DISTINCT template_id, copy_id, cell, day FROM ready WHERE template_id IS NOT NULL
"""
NOTE_DECIDED = "INSERT INTO decided SELECT DISTINCT coalesce(generation_day, day) FROM ready"
NOTE_PLACES = """
    INSERT INTO placed
    SELECT transmission_id, profile_id, sent_at, template_id, message_id, delivered, 1 FROM ready
"""
LEAVE_OUT = "DELETE FROM touched t USING ready r WHERE t.transmission_id = r.transmission_id"


class Ahead:
    """The sends of one file, on the connection that stages it."""

    def __init__(self, connection: Connection, org_id: UUID, window: timedelta) -> None:
        self._connection, self._org_id, self._window = connection, org_id, window
        self._since: date | None = None
        self._setup: str | None = None

    async def foretell(self) -> None:
        """Before the switch, in a transaction of the org's that ends: it must not keep others from new partitions."""
        span = await self._connection.fetchrow(SELECT_SPAN, timeout=STATEMENT_TIMEOUT_S)
        if span is None or span["since"] is None:
            return
        self._since = span["since"]
        self._setup = await self._connection.fetchval(SELECT_SETUP, self._org_id)
        lookback_days: int = await self._connection.fetchval(SELECT_LOOKBACK_DAYS, self._org_id, self._window)
        await self._run(FORETELL, self._since, self._window, lookback_days)
        await self._connection.execute("ANALYZE ready")

    async def keep_new(self) -> None:
        """Under the org's lock, before the file's events are there."""
        if self._since is None:
            return
        if self._setup != await self._connection.fetchval(SELECT_SETUP, self._org_id):
            await self._connection.execute("TRUNCATE ready")
            return
        await self._run(DROP_KNOWN, self._since)
        await self._run(DROP_SENDS)

    async def add(self, orders: Orders) -> None:
        """Once they are: add those sends, and take them out of `touched`."""
        if self._since is None:
            return
        await self._connection.execute(DROP_REPEATED, timeout=STATEMENT_TIMEOUT_S)
        days = await self._connection.fetchrow(SELECT_DAYS)
        if days is None or days["first"] is None:
            return
        await self._run(DROP_LOOSE, days["first"], days["last"])
        await self._run(INSERT_SENDS)
        await self._run(NOTE_UNMATCHED)
        for statement in (NOTE_CELLS, NOTE_DECIDED, *([NOTE_PLACES] if orders.metrics else []), LEAVE_OUT):
            await self._connection.execute(statement, timeout=STATEMENT_TIMEOUT_S)

    async def _run(self, statement: str, *arguments: object) -> None:
        await self._connection.execute(statement, self._org_id, *arguments, timeout=STATEMENT_TIMEOUT_S)
