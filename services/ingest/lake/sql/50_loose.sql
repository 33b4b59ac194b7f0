-- Unsubscribes and complaints that name no transmission: of the send whose hand-over they name, else of the newest one
-- of their person and message before them.
WITH told AS (
    SELECT event_id, metric, profile_id, message_id, event_us, handoff_us, day_number
    FROM events
    WHERE transmission_id IS NULL AND message_id IS NOT NULL
), newest AS (
    SELECT t.event_id, t.day_number, max(s.sent_us) AS newest_us
    FROM told t JOIN mailed s ON s.profile_id = t.profile_id AND s.message_id = t.message_id AND s.sent_us <= t.event_us
    GROUP BY t.event_id, t.day_number
)
SELECT
    s.transmission_id,
    max(CASE WHEN t.metric IN ('Unsubscribed', 'Unsubscribed from Email Marketing') THEN 1 ELSE 0 END) AS unsubscribed,
    max(CASE WHEN t.metric = 'Marked Email as Spam' THEN 1 ELSE 0 END) AS spam
FROM told t
JOIN mailed s ON s.profile_id = t.profile_id AND s.message_id = t.message_id
LEFT JOIN newest n ON n.event_id = t.event_id AND n.day_number = t.day_number
WHERE t.day_number >= s.day_number AND t.day_number <= s.day_number + 30 AND t.event_us >= s.sent_us - 60000000
  AND CASE WHEN t.handoff_us IS NOT NULL THEN t.handoff_us = s.sent_us
           ELSE s.sent_us >= coalesce(n.newest_us, s.sent_us) END
GROUP BY s.transmission_id
