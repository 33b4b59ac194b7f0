"""What the fresh rows of one file say of its emails, summed up and added, all at once.

Most emails in a file are new, or were only opened. Both follow from the fresh rows alone, once it is proven for each
that it is so:

- `ready`: emails that the file says were sent. No event and no send of it was there, and no event without a
  transmission is about its person and message. It becomes a send as it is.
- `later`: emails of which it only says that they were opened, clicked, … Its send is there and stays where it was. What
  the rows come to is added to it: a sum of events is the sum of their sums.

Rows that are told again change neither, unless they say something else (`touched`). All others (`apart`) go the way of
`attribute`, which computes from the events whatever was touched.
"""

from datetime import timedelta
from uuid import UUID

from services.ingest.attribution.attribute import (
    ALL_GENERATIONS,
    ATTRIBUTED,
    ATTRIBUTION,
    BEST,
    FACTS,
    MARK_UNMATCHED,
    SELECT_LOOKBACK_DAYS,
    SUMS,
)
from services.ingest.attribution.conversions import Orders
from services.ingest.loading.switch import STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

_TALLIED = """
    transmission_id, profile_id, message_id, flow_id, sent_at, day, delivered, bounced, unsubscribed, spam,
    first_open_at, human_opens, machine_opens, first_click_at, human_clicks, bot_clicks
""".strip()

CREATE_READY = """
    DROP TABLE IF EXISTS pg_temp.ready, pg_temp.ready_emails, pg_temp.later, pg_temp.added, pg_temp.apart;
    CREATE TEMP TABLE ready (
        transmission_id text, profile_id text, message_id text, flow_id text, sent_at timestamptz, day date,
        delivered bool, bounced bool, unsubscribed bool, spam bool, first_open_at timestamptz, human_opens int,
        machine_opens int, first_click_at timestamptz, human_clicks int, bot_clicks int, attribution text,
        generation_id uuid, generation_day date, template_id text, copy_id uuid, cell text, drawn_copy_id uuid,
        fits bool, accepted_at timestamptz, candidate_id uuid
    );
    CREATE TEMP TABLE later (
        transmission_id text, unsubscribed bool, spam bool, first_open_at timestamptz, human_opens int,
        machine_opens int, first_click_at timestamptz, human_clicks int, bot_clicks int, first_day date,
        first_handoff timestamptz, last_handoff timestamptz
    );
    CREATE TEMP TABLE ready_emails (n bigint);
    CREATE TEMP TABLE added (transmission_id text);
    CREATE TEMP TABLE apart (transmission_id text);
"""
DROP_READY = "DROP TABLE IF EXISTS pg_temp.ready, pg_temp.ready_emails, pg_temp.later, pg_temp.added, pg_temp.apart"

# Events of more than a day before their send do not count, as where they are read from the events.
FORETELL = f"""
    WITH facts AS (
        SELECT e.*,
            {FACTS}
        FROM staged e WHERE e.transmission_id IS NOT NULL
        OFFSET 0  -- each fact is found once a row, not once for each sum that asks for it
    ), sums AS MATERIALIZED (
        SELECT transmission_id, bool_or(sending) AS sent,
            {SUMS},
            min(day) AS first_day,
            (min(least(event_at, handoff_at)) FILTER (WHERE sending) AT TIME ZONE 'UTC')::date AS since,
            min(handoff_at) AS first_handoff, max(handoff_at) AS last_handoff
        FROM facts GROUP BY transmission_id
    ), opened AS (
        INSERT INTO later
        SELECT transmission_id, unsubscribed, spam, first_open_at, human_opens, machine_opens, first_click_at,
            human_clicks, bot_clicks, first_day, first_handoff, last_handoff
        FROM sums WHERE NOT sent
    ), early AS (
        INSERT INTO apart SELECT transmission_id FROM sums WHERE sent AND first_day < since - 1
    ), counted AS (
        INSERT INTO ready_emails SELECT count(*) FROM sums WHERE sent AND first_day >= since - 1
    ), t AS (
        SELECT *, (sent_at AT TIME ZONE 'UTC')::date AS day FROM sums WHERE sent AND first_day >= since - 1
    )
    INSERT INTO ready ({_TALLIED}, {ATTRIBUTED}, fits, accepted_at, candidate_id)
    SELECT {", ".join(f"t.{name.strip()}" for name in _TALLIED.split(","))},
        {ATTRIBUTION},
        g.fits, g.accepted_at, g.generation_id
    FROM t
    {ALL_GENERATIONS}
"""  # noqa: S608  # our own text
# All but the best of those that may have shown several generations.
_BEST = BEST.replace("generation_id", "candidate_id")
DROP_OTHERS = f"""
    DELETE FROM ready r USING (
        SELECT ctid AS at, row_number() OVER (PARTITION BY transmission_id ORDER BY {_BEST}) AS nth
        FROM ready
        WHERE transmission_id IN (SELECT transmission_id FROM ready GROUP BY transmission_id HAVING count(*) > 1)
    ) o WHERE o.nth > 1 AND r.ctid = o.at
"""  # noqa: S608  # our own text

SELECT_SPAN = """
    SELECT (min(least(event_at, handoff_at)) AT TIME ZONE 'UTC')::date - 1 AS since,
        min(day) AS first
    FROM staged WHERE transmission_id IS NOT NULL AND metric IN ('Received Email', 'Bounced Email', 'Dropped Email')
"""

# Of any of their rows, and of those that came before their delivery: from the first day on that one could count.
NOTE_KNOWN = """
    INSERT INTO apart
    SELECT r.transmission_id FROM ready r CROSS JOIN LATERAL (
        SELECT FROM events e WHERE e.org_id = $1 AND e.transmission_id = r.transmission_id AND e.day >= $2 LIMIT 1) e
    UNION ALL
    SELECT r.transmission_id FROM ready r CROSS JOIN LATERAL (
        SELECT FROM sends s WHERE s.org_id = $1 AND s.transmission_id = r.transmission_id OFFSET 0) s
"""
# Rows that were known, and say something else from now on.
NOTE_CORRECTED = "INSERT INTO apart SELECT transmission_id FROM touched WHERE transmission_id IS NOT NULL"
SELECT_DAYS = "SELECT min(day) AS first, max(day) + 30 AS last FROM ready"
NOTE_LOOSE = """
    INSERT INTO apart
    SELECT r.transmission_id FROM ready r JOIN (
        SELECT DISTINCT profile_id, message_id FROM events
        WHERE org_id = $1 AND transmission_id IS NULL AND message_id IS NOT NULL AND day BETWEEN $2 AND $3
    ) l ON l.profile_id = r.profile_id AND l.message_id = r.message_id
"""
DROP_APART = """
    DELETE FROM {table} r USING (SELECT DISTINCT transmission_id FROM apart) a
    WHERE a.transmission_id = r.transmission_id
"""

INSERT_SENDS = f"""
    INSERT INTO sends (org_id, {_TALLIED}, {ATTRIBUTED})
    SELECT $1, {_TALLIED}, {ATTRIBUTED} FROM ready
"""  # noqa: S608  # our own text
NOTE_UNMATCHED = f"""
    WITH kept AS (SELECT day, message_id, attribution, true AS fresh FROM ready)
    {MARK_UNMATCHED}
"""  # noqa: S608  # our own text
# What the triggers of `sends` would find out by reading the generations again.
MARKED = "SELECT set_config('app.sends_marked', $1, true)"
MARK = """
    INSERT INTO shown_marks (org_id, at)
    SELECT DISTINCT $1::uuid, quarter_of(accepted_at) FROM ready WHERE generation_id IS NOT NULL
"""
NOTE_CELLS = """
    INSERT INTO cells SELECT DISTINCT template_id, copy_id, cell, day FROM ready WHERE template_id IS NOT NULL
"""
NOTE_DECIDED = "INSERT INTO decided SELECT DISTINCT coalesce(generation_day, day) FROM ready"
NOTE_PLACES = """
    INSERT INTO placed
    SELECT transmission_id, profile_id, sent_at, template_id, message_id, delivered, 1 FROM ready
"""
# Without a delivery of its own, a hand-over that differs from the send's could move it; one that is alike does not.
ADD_LATER = """
    WITH changed AS (
        UPDATE sends s SET unsubscribed = s.unsubscribed OR l.unsubscribed, spam = s.spam OR l.spam,
            first_open_at = least(s.first_open_at, l.first_open_at), human_opens = s.human_opens + l.human_opens,
            machine_opens = s.machine_opens + l.machine_opens,
            first_click_at = least(s.first_click_at, l.first_click_at),
            human_clicks = s.human_clicks + l.human_clicks, bot_clicks = s.bot_clicks + l.bot_clicks
        FROM later l
        WHERE s.org_id = $1 AND s.transmission_id = l.transmission_id AND l.first_day >= s.day - 1
          AND (l.first_handoff IS NULL OR l.first_handoff = s.sent_at AND l.last_handoff = s.sent_at)
        RETURNING s.transmission_id, s.template_id, s.copy_id, s.cell, s.day, s.generation_day
    ), of_cells AS (
        INSERT INTO cells SELECT DISTINCT template_id, copy_id, cell, day FROM changed WHERE template_id IS NOT NULL
    ), of_days AS (
        INSERT INTO decided SELECT DISTINCT coalesce(generation_day, day) FROM changed
    )
    INSERT INTO added SELECT transmission_id FROM changed
"""
# An update cannot ask row by row in its own words.
BY_ROW = "SET LOCAL enable_hashjoin = {0}; SET LOCAL enable_mergejoin = {0}"
# What has no send waits among the events.
NOTE_MOVED = """
    INSERT INTO apart
    SELECT l.transmission_id FROM later l CROSS JOIN LATERAL (
        SELECT FROM sends s WHERE s.org_id = $1 AND s.transmission_id = l.transmission_id OFFSET 0) s
    WHERE NOT EXISTS (SELECT FROM added a WHERE a.transmission_id = l.transmission_id)
"""
TOUCH_APART = """
    INSERT INTO touched
    SELECT transmission_id,
        min(least(event_at, handoff_at) AT TIME ZONE 'UTC')
            FILTER (WHERE metric IN ('Received Email', 'Bounced Email', 'Dropped Email'))::date,
        count(*)
    FROM staged WHERE transmission_id IN (SELECT transmission_id FROM apart) GROUP BY transmission_id
"""


class Ahead:
    """The sends of one file, on the connection that stages it."""

    def __init__(self, connection: Connection, org_id: UUID, window: timedelta) -> None:
        self._connection, self._org_id, self._window = connection, org_id, window

    async def foretell(self) -> None:
        """Under the org's lock, once only fresh rows are left and before they are events."""
        span = await self._connection.fetchrow(SELECT_SPAN, timeout=STATEMENT_TIMEOUT_S)
        since = span["since"] if span else None
        about = self._org_id, self._window, since
        lookback_days: int = await self._connection.fetchval(SELECT_LOOKBACK_DAYS, *about)
        status = await self._run(FORETELL, since, self._window, lookback_days)
        emails: int = await self._connection.fetchval("SELECT n FROM ready_emails")
        if int(status.rpartition(" ")[2]) > emails:
            await self._connection.execute(DROP_OTHERS, timeout=STATEMENT_TIMEOUT_S)
        if since is not None:
            await self._run(NOTE_KNOWN, since)

    async def add(self, orders: Orders) -> None:
        """Once they are: add those sums, and note in `touched` what has to be computed."""
        days = await self._connection.fetchrow(SELECT_DAYS, timeout=STATEMENT_TIMEOUT_S)
        if days is not None and days["first"] is not None:
            await self._run(NOTE_LOOSE, days["first"], days["last"])
        await self._connection.execute(NOTE_CORRECTED, timeout=STATEMENT_TIMEOUT_S)
        await self._connection.execute("ANALYZE apart")
        for table in ("ready", "later"):
            await self._connection.execute(DROP_APART.format(table=table), timeout=STATEMENT_TIMEOUT_S)
        await self._connection.execute(MARKED, "yes")
        await self._add_ready(orders)
        await self._connection.execute(BY_ROW.format("off"))
        await self._run(ADD_LATER)
        await self._connection.execute(BY_ROW.format("on"))
        await self._connection.execute(MARKED, "")
        await self._run(NOTE_MOVED)
        await self._connection.execute("ANALYZE apart")
        await self._connection.execute(TOUCH_APART, timeout=STATEMENT_TIMEOUT_S)

    async def _add_ready(self, orders: Orders) -> None:
        await self._run(INSERT_SENDS)
        await self._run(NOTE_UNMATCHED)
        await self._run(MARK)
        for statement in (NOTE_CELLS, NOTE_DECIDED, *([NOTE_PLACES] if orders.metrics else [])):
            await self._connection.execute(statement, timeout=STATEMENT_TIMEOUT_S)

    async def _run(self, statement: str, *arguments: object) -> str:
        status = await self._connection.execute(statement, self._org_id, *arguments, timeout=STATEMENT_TIMEOUT_S)
        return str(status)
