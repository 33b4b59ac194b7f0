-- Each event once: what the newest file says of it. An id counts once per UTC day, as in PostgreSQL.
SELECT event_id, metric, profile_id, event_us, message_id, flow_id, transmission_id, handoff_us, machine_open, bot_click,
    url, file, day_number
FROM (
    SELECT p.*, row_number() OVER (
        PARTITION BY p.event_id, p.day_number ORDER BY f.mtime_us DESC, f.file DESC, p.metric, p.profile_id, p.event_us
    ) AS place
    FROM parsed p JOIN files f ON f.file = p.file
    WHERE p.reason IS NULL
) ranked
WHERE place = 1
