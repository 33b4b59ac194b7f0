"""From events to sends, in SQL: always computed from the facts, for exactly what was touched.

The statements work on the tables of switch.py.

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
"""

from datetime import date, timedelta
from uuid import UUID

from services.ingest.attribution.conversions import Orders
from services.ingest.counting.rollups import note_counted, roll_up
from services.ingest.loading.switch import EVENTS_SINCE, STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

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
    SELECT min(least(t.since, s.day)) - 1 AS since, max(s.day - s.generation_day) + 1 AS looked_back FROM touched t
    LEFT JOIN LATERAL (
        SELECT s.day, s.generation_day FROM sends s
        WHERE s.org_id = $1 AND s.transmission_id = t.transmission_id OFFSET 0
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

# How many days before a send its generation may lie: the longest delay and send window in use, and our own window. What
# a delay was before counts while emails may still come of it: who waits already is not sent earlier. $3: a day before
# the sends. A send that is stored may have come of a longer delay, in use no more: SELECT_SINCE tells how far back that
# lies.
SELECT_LOOKBACK_DAYS = """
    SELECT 1 + ceil(extract(epoch FROM $2::interval) / 86400 + greatest(
        (SELECT max(greatest(delay_s, latest_s,
                CASE WHEN former_until >= $3::date::timestamp AT TIME ZONE 'UTC' - $2::interval THEN former_s END))
            FROM flow_messages WHERE org_id = $1),
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
        CASE WHEN g.fits AND NOT g.preview THEN g.cell ELSE '' END,
        CASE WHEN g.fits AND NOT g.preview THEN g.drawn_copy_id END
""".strip()
ATTRIBUTED = "attribution, generation_id, generation_day, template_id, copy_id, cell, drawn_copy_id"
_CANDIDATES = """
    LEFT JOIN (
        SELECT message_id, array_agg(action_id) AS actions FROM flow_messages WHERE org_id = $1 GROUP BY message_id
    ) m ON m.message_id = t.message_id
    LEFT JOIN LATERAL (
        -- What was only looked at never showed. What was written as a preview may have: an email that shows it is no
        -- result, and none of an older generation either.
        SELECT g.decision = 'written_preview' AS preview, g.generation_id, g.day, g.template_id, g.copy_id,
            g.accepted_at, g.cell, g.drawn_copy_id, (CASE
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

# An email of which events may be gone stays as it is: its events lie on its day, or the day before. The system column
# xmax is 0 in a row that was inserted, not updated.
UPSERT_SENDS = f"""
    WITH kept AS (
    INSERT INTO sends (org_id, transmission_id, profile_id, message_id, flow_id, sent_at, day, delivered, bounced,
        unsubscribed, spam, first_open_at, human_opens, machine_opens, first_click_at, human_clicks, bot_clicks,
        {ATTRIBUTED})
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
        template_id = excluded.template_id, copy_id = excluded.copy_id, cell = excluded.cell,
        drawn_copy_id = excluded.drawn_copy_id
    WHERE sends.day > {EVENTS_SINCE}
    RETURNING day, message_id, attribution, xmax = 0 AS fresh
    )
    {MARK_UNMATCHED}
"""  # noqa: S608  # our own text


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
    await roll_up(connection, org_id)


async def _recompute_touched(connection: Connection, orders: Orders, org_id: UUID, window: timedelta) -> None:
    await connection.execute("ANALYZE touched")
    span = await connection.fetchrow(SELECT_SINCE, org_id, timeout=STATEMENT_TIMEOUT_S)
    if span is None or span["since"] is None:
        return
    since: date = span["since"]
    await connection.execute(TALLY, org_id, since, timeout=STATEMENT_TIMEOUT_S)
    await connection.execute("ANALYZE tallies")
    in_use: int = await connection.fetchval(SELECT_LOOKBACK_DAYS, org_id, window, since)
    lookback_days = max(in_use, span["looked_back"] or 0)
    await note_counted(connection, org_id)
    await orders.note_places(-1)
    await connection.execute(UPSERT_SENDS, org_id, since, window, lookback_days, timeout=STATEMENT_TIMEOUT_S)
    await note_counted(connection, org_id)
    await orders.note_places(1)
