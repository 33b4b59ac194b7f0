-- The generation that each send showed: the newest of its person that was accepted before it was handed over and made
-- for its message. The words of `attribution` are those of services/ingest/attribution/attribute.py.
WITH synced AS (
    SELECT DISTINCT message_id FROM flow_messages
), candidates AS (
    SELECT
        s.transmission_id, g.generation_id, g.template_id, g.copy_id, g.accepted_us, g.decision,
        CASE
            WHEN y.message_id IS NOT NULL THEN m.action_id IS NOT NULL
            ELSE coalesce(g.flow_id = s.flow_id, false) AND a.action_id IS NULL
        END AS fits
    FROM mailed s
    LEFT JOIN synced y ON y.message_id = s.message_id
    CROSS JOIN settings w
    JOIN generations g ON g.user_id = s.profile_id
    LEFT JOIN (SELECT DISTINCT message_id, action_id FROM flow_messages) m
        ON m.message_id = s.message_id AND m.action_id = g.action_id
    LEFT JOIN (SELECT DISTINCT action_id FROM flow_messages) a ON a.action_id = g.action_id
    WHERE (s.flow_id IS NOT NULL OR y.message_id IS NOT NULL) AND g.decision <> 'preview'
      AND g.accepted_us <= s.sent_us AND g.clean_us >= s.sent_us - w.window_us
), chosen AS (
    SELECT *, row_number() OVER (
        PARTITION BY transmission_id ORDER BY CASE WHEN fits THEN 0 ELSE 1 END, accepted_us DESC, generation_id DESC
    ) AS place
    FROM candidates
)
SELECT
    s.transmission_id, s.profile_id, s.message_id, s.flow_id, s.sent_us, s.delivered = 1 AS delivered,
    s.bounced = 1 AS bounced,
    s.unsubscribed = 1 OR coalesce(l.unsubscribed, 0) = 1 AS unsubscribed, s.spam = 1 OR coalesce(l.spam, 0) = 1 AS spam,
    s.first_open_us, s.human_opens, s.machine_opens, s.first_click_us, s.human_clicks, s.bot_clicks,
    CASE
        WHEN s.flow_id IS NULL AND y.message_id IS NULL THEN 'not_a_flow'
        WHEN c.generation_id IS NULL THEN 'no_generation'
        WHEN NOT coalesce(c.fits, false) THEN 'other_message'
        WHEN c.decision = 'written_preview' THEN 'preview'
        WHEN y.message_id IS NULL THEN 'flow'
        ELSE 'message'
    END AS attribution,
    CASE WHEN c.fits AND c.decision <> 'written_preview' THEN c.generation_id END AS generation_id,
    CASE WHEN c.fits AND c.decision <> 'written_preview' THEN c.template_id END AS template_id,
    CASE WHEN c.fits AND c.decision <> 'written_preview' THEN c.copy_id END AS copy_id,
    s.day_number
FROM mailed s
LEFT JOIN synced y ON y.message_id = s.message_id
LEFT JOIN chosen c ON c.transmission_id = s.transmission_id AND c.place = 1
LEFT JOIN loose l ON l.transmission_id = s.transmission_id
