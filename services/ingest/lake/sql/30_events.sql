-- Each event once: each value as the newest file says it that says one. An id counts once per UTC day, as in PostgreSQL.
SELECT event_id,
    min_by(metric, place) AS metric,
    min_by(profile_id, place) AS profile_id,
    min_by(event_us, place) AS event_us,
    min_by(message_id, CASE WHEN message_id IS NOT NULL THEN place END) AS message_id,
    min_by(flow_id, CASE WHEN flow_id IS NOT NULL THEN place END) AS flow_id,
    min_by(transmission_id, CASE WHEN transmission_id IS NOT NULL THEN place END) AS transmission_id,
    min_by(handoff_us, CASE WHEN handoff_us IS NOT NULL THEN place END) AS handoff_us,
    min_by(machine_open, CASE WHEN machine_open IS NOT NULL THEN place END) AS machine_open,
    min_by(bot_click, CASE WHEN bot_click IS NOT NULL THEN place END) AS bot_click,
    min_by(url, CASE WHEN url IS NOT NULL THEN place END) AS url,
    min_by(file, place) AS file,
    day_number
FROM (
    SELECT p.*, row_number() OVER (
        PARTITION BY p.event_id, p.day_number ORDER BY f.mtime_us DESC, f.file DESC, p.metric, p.profile_id, p.event_us
    ) AS place
    FROM parsed p JOIN files f ON f.file = p.file
    WHERE p.reason IS NULL
) ranked
GROUP BY event_id, day_number
