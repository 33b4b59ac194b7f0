"""From events to sends to rollups, in SQL: always computed from the facts, for exactly what was touched.

A send is one real email, known by its Transmission ID, which its delivery, opens and clicks share. It showed the
newest generation of the person that was accepted before it was handed over and that was made for its flow message:

| attribution | the send's message … |
| message | is, by flow sync, the message of the action that the generation was written for |
| flow | is in no synced flow; it belongs to the generation's flow, whose action is in no synced flow either |
| other_message | fits none of the person's generations |
| no_generation | … the person has none that was accepted before and cleaned up less than the window before |
| not_a_flow | has no flow: a campaign |

An unsubscribe or a complaint that names no transmission belongs to the person's newest send of its message, or to the
one whose hand-over it names.

The statements work on temporary tables: `touched` says which transmissions, `loose` which events name none, `tallies`
what the events of a transmission say together, `cells` which rollups that concerns, `decided` which days of decisions
(counting.py counts those anew); `bought` and `placed` are those of
conversions.py.
"""

from datetime import date, timedelta
from uuid import UUID

from services.ingest.conversions import Orders, orders_of
from shared.db.pool import SCOPE_TO_ORG, Connection, Database

STATEMENT_TIMEOUT_S = 600.0  # of one statement over all that one file, or one day, touched
_REBUILD_TIMEOUT_S = 6 * 3600.0

CREATE_WORK_TABLES = """
    DROP TABLE IF EXISTS pg_temp.touched, pg_temp.loose, pg_temp.tallies, pg_temp.cells, pg_temp.decided,
        pg_temp.bought, pg_temp.placed;
    CREATE TEMP TABLE touched (transmission_id text, since date, n bigint) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE loose (
        profile_id text, message_id text, event_at timestamptz, handoff_at timestamptz
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE tallies (
        transmission_id text, profile_id text, message_id text, flow_id text, sent_at timestamptz, day date,
        delivered bool, bounced bool, unsubscribed bool, spam bool, first_open_at timestamptz, human_opens int,
        machine_opens int, first_click_at timestamptz, human_clicks int, bot_clicks int, loose int
    ) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE cells (template_id text, copy_id uuid, cell text, day date) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE decided (day date) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE bought (event_id text, day date) ON COMMIT DELETE ROWS;
    CREATE TEMP TABLE placed (
        transmission_id text, profile_id text, sent_at timestamptz, template_id text, message_id text, delivered bool,
        sign int
    ) ON COMMIT DELETE ROWS;
"""
DROP_WORK_TABLES = """
    DROP TABLE IF EXISTS pg_temp.touched, pg_temp.loose, pg_temp.tallies, pg_temp.cells, pg_temp.decided,
        pg_temp.bought, pg_temp.placed
"""

# What we ANALYZE are work tables, of which the planner need only know how long they are.
BEGIN_LONG_WORK = """
    SET LOCAL statement_timeout = '600s'; SET LOCAL lock_timeout = '300s'; SET LOCAL work_mem = '64MB';
    SET LOCAL default_statistics_target = 10
"""

# Several orgs switch at once; within one, two files could each miss what the other is about to commit.
LOCK_ORG = "SELECT pg_advisory_xact_lock(hashtextextended('ingest:' || $1, 0))"

# Which send an event without transmission belongs to shows only when all sends of its person and message are there,
# those of this very file too; and one that comes late may take the event from another.
TOUCH_NEIGHBOURS = """
    INSERT INTO touched
    SELECT s.transmission_id, s.day, 0 FROM (
        SELECT profile_id, message_id FROM loose
        UNION SELECT profile_id, message_id FROM tallies WHERE loose > 0
    ) p CROSS JOIN LATERAL (
        SELECT s.transmission_id, s.day FROM sends s
        WHERE s.org_id = $1 AND s.profile_id = p.profile_id AND s.message_id = p.message_id OFFSET 0
    ) s
"""

# Whoever looks for what was touched looks row by row (OFFSET 0): of rows that came a minute ago the planner knows
# nothing, and would read all of the org.
SELECT_SINCE = """
    SELECT min(least(t.since, s.day)) - 1 FROM touched t
    LEFT JOIN LATERAL (
        SELECT s.day FROM sends s WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id OFFSET 0
    ) s ON true
    WHERE t.transmission_id IS NOT NULL
"""

# What one event `e` says of its send, and what all of a send's events (`facts`) say together.
FACTS = r"""
            e.metric IN ('Received Email', 'Bounced Email', 'Dropped Email') AS sending,
            e.metric = 'Opened Email' AND e.machine_open IS FALSE AS human_open,
            e.metric = 'Clicked Email' AND e.bot_click IS NOT TRUE AND (e.url IS NULL OR e.url !~*
                '^https?://[^/]*kmail-lists\.|/(unsubscribe|manage-preferences|preferences|web-?view|view-in-browser)([/?#]|$)'
            ) AS human_click
""".strip()
SUMS = """
            min(profile_id) FILTER (WHERE sending) AS profile_id,
            min(message_id) FILTER (WHERE sending) AS message_id,
            min(flow_id) FILTER (WHERE sending) AS flow_id,
            coalesce(
                min(handoff_at) FILTER (WHERE sending),
                min(handoff_at),
                min(event_at) FILTER (WHERE metric = 'Received Email'),
                min(event_at) FILTER (WHERE sending)
            ) AS sent_at,
            bool_or(metric = 'Received Email') AS delivered,
            bool_or(metric IN ('Bounced Email', 'Dropped Email')) AS bounced,
            bool_or(metric IN ('Unsubscribed', 'Unsubscribed from Email Marketing')) AS unsubscribed,
            bool_or(metric = 'Marked Email as Spam') AS spam,
            min(event_at) FILTER (WHERE human_open) AS first_open_at,
            count(*) FILTER (WHERE human_open) AS human_opens,
            count(*) FILTER (WHERE metric = 'Opened Email' AND NOT human_open) AS machine_opens,
            min(event_at) FILTER (WHERE human_click) AS first_click_at,
            count(*) FILTER (WHERE human_click) AS human_clicks,
            count(*) FILTER (WHERE metric = 'Clicked Email' AND bot_click) AS bot_clicks
""".strip()

# A transmission without delivery or bounce is no send yet: its opens wait among the events until the file with the
# delivery comes. $2 and `since` lie a day before the send: partitions before them are not looked at.
TALLY = f"""
    INSERT INTO tallies
    WITH known AS MATERIALIZED (
        SELECT t.transmission_id, min(least(t.since, s.day)) - 1 AS since FROM touched t
        LEFT JOIN LATERAL (
            SELECT s.day FROM sends s WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id OFFSET 0
        ) s ON true
        WHERE t.transmission_id IS NOT NULL
        GROUP BY t.transmission_id
    ), facts AS (
        SELECT e.*,
            {FACTS}
        FROM known t CROSS JOIN LATERAL (
            SELECT * FROM events e
            WHERE e.org_id = $1 AND e.transmission_id = t.transmission_id AND e.day >= t.since AND e.day >= $2 OFFSET 0
        ) e
    ), sums AS (
        SELECT transmission_id,
            {SUMS}
        FROM facts GROUP BY transmission_id HAVING bool_or(sending)
    )
    SELECT s.transmission_id, s.profile_id, s.message_id, s.flow_id, s.sent_at, s.day, s.delivered, s.bounced,
        s.unsubscribed OR coalesce(l.unsubscribed, false), s.spam OR coalesce(l.spam, false),
        s.first_open_at, s.human_opens, s.machine_opens, s.first_click_at, s.human_clicks, s.bot_clicks,
        coalesce(l.n, 0)
    FROM (SELECT *, (sent_at AT TIME ZONE 'UTC')::date AS day FROM sums) s
    LEFT JOIN LATERAL (
        SELECT bool_or(e.metric IN ('Unsubscribed', 'Unsubscribed from Email Marketing')) AS unsubscribed,
            bool_or(e.metric = 'Marked Email as Spam') AS spam, count(*) AS n
        FROM events e
        WHERE e.org_id = $1 AND e.transmission_id IS NULL AND e.message_id IS NOT NULL
          AND e.profile_id = s.profile_id AND e.message_id = s.message_id
          AND e.day BETWEEN s.day AND s.day + 30 AND e.event_at >= s.sent_at - interval '1 minute'
          AND CASE WHEN e.handoff_at IS NOT NULL THEN e.handoff_at = s.sent_at ELSE NOT EXISTS (
              SELECT FROM sends later WHERE later.org_id = $1 AND later.profile_id = s.profile_id
                AND later.message_id = s.message_id AND later.sent_at > s.sent_at AND later.sent_at <= e.event_at
          ) END
    ) l ON s.message_id IS NOT NULL
"""  # noqa: S608  # our own text

# How many days before a send its generation may lie: the longest delay and send window in use, and our own window.
SELECT_LOOKBACK_DAYS = """
    SELECT 1 + ceil(extract(epoch FROM $2::interval) / 86400 + greatest(
        (SELECT max(delay_s) FROM flow_messages WHERE org_id = $1),
        (SELECT max(delay_s) FROM templates WHERE org_id = $1), 120) / 86400.0
        + coalesce((SELECT max(send_window_s) FROM templates WHERE org_id = $1), 0) / 86400.0)::int
"""

# Of tallies `t`, by whatever name. $1: org; $2: a day before all of them; $3: the window; $4: the lookback in days.
ATTRIBUTION = """
        CASE WHEN t.flow_id IS NULL AND m.actions IS NULL THEN 'not_a_flow'
             WHEN g.generation_id IS NULL THEN 'no_generation'
             WHEN NOT g.fits THEN 'other_message'
             WHEN g.preview THEN 'preview'
             WHEN m.actions IS NULL THEN 'flow'
             ELSE 'message' END,
        CASE WHEN g.fits AND NOT g.preview THEN g.generation_id END,
        CASE WHEN g.fits AND NOT g.preview THEN g.day END,
        CASE WHEN g.fits AND NOT g.preview THEN g.template_id END,
        CASE WHEN g.fits AND NOT g.preview THEN g.copy_id END,
        CASE WHEN g.fits AND NOT g.preview THEN g.cell ELSE '' END
""".strip()
_CANDIDATES = """
    LEFT JOIN (
        SELECT message_id, array_agg(action_id) AS actions FROM flow_messages WHERE org_id = $1 GROUP BY message_id
    ) m ON m.message_id = t.message_id
    LEFT JOIN LATERAL (
        -- What was only looked at never showed. What was written as a preview may have: an email that shows it is no
        -- result, and none of an older generation either.
        SELECT g.decision = 'written_preview' AS preview, g.generation_id, g.day, g.template_id, g.copy_id,
            g.accepted_at, g.cell, (CASE
            WHEN m.actions IS NOT NULL THEN a.action_id = ANY (m.actions)
            ELSE a.flow_id = t.flow_id AND NOT EXISTS (
                SELECT FROM flow_messages f WHERE f.org_id = $1 AND f.action_id = a.action_id)
            END) IS TRUE AS fits
        FROM generations g
        CROSS JOIN LATERAL (
            -- written_for is `<template>.<flow>.<action>`, or the template alone where the webhook did not say: only
            -- then the template is looked for.
            SELECT coalesce(nullif(split_part(g.written_for, '.', 2), ''), (SELECT p.flow_id
                    FROM templates p WHERE p.org_id = $1 AND p.template_id = g.template_id)) AS flow_id,
                coalesce(nullif(split_part(g.written_for, '.', 3), ''), (SELECT p.treatment_action_id
                    FROM templates p WHERE p.org_id = $1 AND p.template_id = g.template_id)) AS action_id
        ) a
        WHERE g.org_id = $1 AND g.user_id = t.profile_id AND (t.flow_id IS NOT NULL OR m.actions IS NOT NULL)
          AND g.accepted_at <= t.sent_at AND g.clean_at >= t.sent_at - $3::interval
          AND g.day BETWEEN t.day - $4::int AND t.day AND g.day >= $2::date - $4::int AND g.decision <> 'preview'
        {best}
    ) g ON true
""".strip()
# Of two that were accepted at the very same moment the larger id: any rule will do, if all follow it.
BEST = "fits DESC, accepted_at DESC, generation_id DESC"
GENERATIONS = _CANDIDATES.format(best=f"ORDER BY {BEST} LIMIT 1")
ALL_GENERATIONS = _CANDIDATES.format(best="OFFSET 0")
"""Each tally once for each generation that it may have shown. Most have but one, which need not be sorted; whoever asks
so keeps the BEST afterwards."""

# Which messages and days have emails that may be attributed better later: unmatched.py looks at them again, soon where
# a file brought more of them. Of `kept`, sends as they are stored now.
MARK_UNMATCHED = """
    INSERT INTO unmatched AS u (org_id, day, message_id, raised)
    SELECT $1, day, coalesce(message_id, ''), bool_or(fresh) FROM kept
    WHERE attribution IN ('no_generation', 'other_message', 'flow') GROUP BY day, message_id ORDER BY 2, 3
    ON CONFLICT (org_id, day, message_id) DO UPDATE
    SET raised = true, tries = 0, next_at = least(u.next_at, u.tried_at + interval '5 minutes') WHERE excluded.raised
""".strip()

# The system column xmax is 0 in a row that was inserted, not updated.
UPSERT_SENDS = f"""
    WITH kept AS (
    INSERT INTO sends (org_id, transmission_id, profile_id, message_id, flow_id, sent_at, day, delivered, bounced,
        unsubscribed, spam, first_open_at, human_opens, machine_opens, first_click_at, human_clicks, bot_clicks,
        attribution, generation_id, generation_day, template_id, copy_id, cell)
    SELECT $1, t.transmission_id, t.profile_id, t.message_id, t.flow_id, t.sent_at, t.day, t.delivered, t.bounced,
        t.unsubscribed, t.spam, t.first_open_at, t.human_opens, t.machine_opens, t.first_click_at, t.human_clicks,
        t.bot_clicks,
        {ATTRIBUTION}
    FROM tallies t
    {GENERATIONS}
    ON CONFLICT (org_id, transmission_id) DO UPDATE SET profile_id = excluded.profile_id,
        message_id = excluded.message_id, flow_id = excluded.flow_id, sent_at = excluded.sent_at, day = excluded.day,
        delivered = excluded.delivered, bounced = excluded.bounced, unsubscribed = excluded.unsubscribed,
        spam = excluded.spam, first_open_at = excluded.first_open_at, human_opens = excluded.human_opens,
        machine_opens = excluded.machine_opens, first_click_at = excluded.first_click_at,
        human_clicks = excluded.human_clicks, bot_clicks = excluded.bot_clicks, attribution = excluded.attribution,
        generation_id = excluded.generation_id, generation_day = excluded.generation_day,
        template_id = excluded.template_id, copy_id = excluded.copy_id, cell = excluded.cell
    RETURNING day, message_id, attribution, xmax = 0 AS fresh
    )
    {MARK_UNMATCHED}
"""  # noqa: S608  # our own text

# Asked before the sends change and after: a send may move from one cell to another.
NOTE_CELLS = """
    INSERT INTO cells
    SELECT DISTINCT s.template_id, s.copy_id, s.cell, s.day FROM tallies t CROSS JOIN LATERAL (
        SELECT * FROM sends s WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id OFFSET 0
    ) s WHERE s.template_id IS NOT NULL
"""

# A send that shows none of our generations may be one of control's: its own day stands for that of its decision.
NOTE_DECIDED = """
    INSERT INTO decided
    SELECT DISTINCT coalesce(s.generation_day, s.day) FROM tallies t CROSS JOIN LATERAL (
        SELECT * FROM sends s WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id OFFSET 0
    ) s
"""
# Last in their transaction, and in one order: whoever counts waits for these rows.
RAISE_DAYS = """
    INSERT INTO result_days AS r (org_id, day) SELECT DISTINCT $1::uuid, day FROM decided ORDER BY 2
    ON CONFLICT (org_id, day) DO UPDATE SET revision = r.revision + 1
"""
RAISE_REPORTS = """
    INSERT INTO result_reports AS r (org_id, template_id) SELECT DISTINCT $1::uuid, template_id FROM cells ORDER BY 2
    ON CONFLICT (org_id, template_id) DO UPDATE SET revision = r.revision + 1
"""

NOTE_ALL_CELLS = """
    INSERT INTO cells
    SELECT template_id, copy_id, cell, day FROM sends WHERE org_id = $1 AND template_id IS NOT NULL
    UNION
    SELECT template_id, copy_id, cell, day FROM rollups WHERE org_id = $1
"""

DELETE_ROLLUPS = """
    DELETE FROM rollups r USING cells c
    WHERE r.org_id = $1 AND r.template_id = c.template_id AND r.day = c.day
      AND r.copy_id IS NOT DISTINCT FROM c.copy_id AND r.cell = c.cell
"""

# Each day of a template is read once, then its cells are chosen: a join by cell would read the day once per cell.
INSERT_ROLLUPS = """
    INSERT INTO rollups (org_id, template_id, copy_id, cell, day, sends, delivered, human_opens, machine_opens,
        human_clicks, bot_clicks, unsubscribes, bounces, spam, conversions, revenue)
    SELECT $1, s.template_id, s.copy_id, s.cell, s.day, count(*),
        count(*) FILTER (WHERE s.delivered), count(*) FILTER (WHERE s.human_opens > 0),
        count(*) FILTER (WHERE s.machine_opens > 0), count(*) FILTER (WHERE s.human_clicks > 0),
        count(*) FILTER (WHERE s.bot_clicks > 0), count(*) FILTER (WHERE s.unsubscribed),
        count(*) FILTER (WHERE s.bounced), count(*) FILTER (WHERE s.spam), count(e.converted_at), sum(e.revenue)
    FROM (SELECT DISTINCT template_id, day FROM cells) d
    JOIN sends s ON s.org_id = $1 AND s.template_id = d.template_id AND s.day = d.day
    CROSS JOIN LATERAL earned($1, s.template_id, s.transmission_id, 'infinity') e
    GROUP BY s.template_id, s.copy_id, s.cell, s.day
    HAVING EXISTS (SELECT FROM cells c WHERE c.template_id = s.template_id AND c.day = s.day
        AND c.copy_id IS NOT DISTINCT FROM s.copy_id AND c.cell = s.cell)
"""


# Asked for every send of a day; most orgs count no orders.
SELECT_CONVERTED = "SELECT EXISTS (SELECT FROM conversions WHERE org_id = $1)"
INSERT_ROLLUPS_WITHOUT_ORDERS = INSERT_ROLLUPS.replace(
    "CROSS JOIN LATERAL earned($1, s.template_id, s.transmission_id, 'infinity') e",
    "CROSS JOIN (SELECT NULL::timestamptz AS converted_at, 0::numeric AS revenue) e",
)


async def recompute_sends(connection: Connection, orders: Orders, org_id: UUID, window: timedelta) -> None:
    """Bring the sends in `touched`, their conversions, and the rollups they are and were part of, to what the events
    say. Within the caller's transaction, which holds LOCK_ORG. `window`: how long after its clean-up time a generation
    still counts."""
    await _recompute_touched(connection, orders, org_id, window)
    await connection.execute("TRUNCATE touched")
    neighbours = await connection.execute(TOUCH_NEIGHBOURS, org_id, timeout=STATEMENT_TIMEOUT_S)
    if neighbours != "INSERT 0 0":
        await connection.execute("TRUNCATE tallies")
        await _recompute_touched(connection, orders, org_id, window)
    await orders.recount()
    await _roll_up(connection, org_id)


async def _recompute_touched(connection: Connection, orders: Orders, org_id: UUID, window: timedelta) -> None:
    await connection.execute("ANALYZE touched")
    since: date | None = await connection.fetchval(SELECT_SINCE, org_id, timeout=STATEMENT_TIMEOUT_S)
    if since is None:
        return
    await connection.execute(TALLY, org_id, since, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute("ANALYZE tallies")
    lookback_days: int = await connection.fetchval(SELECT_LOOKBACK_DAYS, org_id, window)
    await connection.execute(NOTE_CELLS, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(NOTE_DECIDED, org_id, timeout=STATEMENT_TIMEOUT_S)
    await orders.note_places(-1)
    await connection.execute(UPSERT_SENDS, org_id, since, window, lookback_days, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(NOTE_CELLS, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(NOTE_DECIDED, org_id, timeout=STATEMENT_TIMEOUT_S)
    await orders.note_places(1)


async def _roll_up(connection: Connection, org_id: UUID) -> None:
    """Count what is in `cells` anew."""
    await connection.execute("ANALYZE cells")
    await connection.execute(DELETE_ROLLUPS, org_id, timeout=STATEMENT_TIMEOUT_S)
    converted = await connection.fetchval(SELECT_CONVERTED, org_id)
    insert = INSERT_ROLLUPS if converted else INSERT_ROLLUPS_WITHOUT_ORDERS
    await connection.execute("SET LOCAL enable_sort = off")  # sends are many and cells few, which it cannot know
    await connection.execute(insert, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute("SET LOCAL enable_sort = on")
    await connection.execute(RAISE_DAYS, org_id, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute(RAISE_REPORTS, org_id, timeout=STATEMENT_TIMEOUT_S)


SELECT_SEND_DAYS = """
    SELECT DISTINCT day FROM events
    WHERE org_id = $1 AND transmission_id IS NOT NULL
      AND metric IN ('Received Email', 'Bounced Email', 'Dropped Email')
    ORDER BY day
"""

TOUCH_DAY = """
    INSERT INTO touched
    SELECT transmission_id, min(least(day, (handoff_at AT TIME ZONE 'UTC')::date)), count(*) FROM events
    WHERE org_id = $1 AND day = $2 AND transmission_id IS NOT NULL
      AND metric IN ('Received Email', 'Bounced Email', 'Dropped Email')
    GROUP BY transmission_id
"""

COUNT_ROLLUPS = "SELECT count(*) FROM rollups WHERE org_id = $1"


async def rebuild_rollups(database: Database, org_id: UUID, window: timedelta = timedelta(days=1)) -> int:
    """Compute all sends and rollups of an org anew from its events, day by day, as after a flow sync that told more
    about its messages. Files may be loaded meanwhile. Returns the number of rollup rows."""
    async with database.connection(_REBUILD_TIMEOUT_S) as connection:
        async with connection.transaction():
            await connection.execute(SCOPE_TO_ORG, str(org_id))
            await connection.execute(CREATE_WORK_TABLES)
            days = [row["day"] for row in await connection.fetch(SELECT_SEND_DAYS, org_id, timeout=STATEMENT_TIMEOUT_S)]
        for day in days:
            async with connection.transaction():
                await begin_switch(connection, org_id)
                await connection.execute(TOUCH_DAY, org_id, day, timeout=STATEMENT_TIMEOUT_S)
                await recompute_sends(connection, await orders_of(connection, org_id), org_id, window)
        async with connection.transaction():
            await begin_switch(connection, org_id)
            await connection.execute(NOTE_ALL_CELLS, org_id, timeout=STATEMENT_TIMEOUT_S)
            await recount_orders(connection, org_id)
            count: int = await connection.fetchval(COUNT_ROLLUPS, org_id)
        await connection.execute(DROP_WORK_TABLES)
    return count


async def recount_orders(connection: Connection, org_id: UUID) -> None:
    """Attribute all orders of an org anew, as after a change of what its templates count. Within the caller's
    transaction, which holds LOCK_ORG and made the work tables."""
    orders = await orders_of(connection, org_id)
    await orders.recount_all()
    await _roll_up(connection, org_id)


async def begin_switch(connection: Connection, org_id: UUID) -> None:
    """At the start of a transaction that changes what follows from events: this org only, one at a time."""
    await begin_long_work(connection, org_id)
    await lock_org(connection, org_id)


async def begin_long_work(connection: Connection, org_id: UUID) -> None:
    """At the start of a transaction of this org's that may take minutes."""
    await connection.execute(SCOPE_TO_ORG, str(org_id))
    await connection.execute(BEGIN_LONG_WORK)


async def lock_org(connection: Connection, org_id: UUID) -> None:
    """Until the end of the transaction nobody else changes what follows from the org's events."""
    await connection.execute(LOCK_ORG, str(org_id), timeout=STATEMENT_TIMEOUT_S)
