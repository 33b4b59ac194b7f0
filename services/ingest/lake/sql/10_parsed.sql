-- Each row as it is understood, or why it is no event. Times are microseconds since 1970, UTC: integers mean the same to
-- every engine. What the words mean is said in services/ingest/reading/mapping.py.
WITH named AS (
    SELECT
        r.file,
        trim(r.event_id) AS event_id,
        coalesce(m.name, trim(r.metric)) AS metric,
        trim(r.profile_id) AS profile_id,
        r.event_us,
        nullif(trim(r.message_id), '') AS message_id,
        nullif(trim(r.flow_id), '') AS flow_id,
        nullif(trim(r.transmission_id), '') AS transmission_id,
        r.handoff_us AS said_handoff_us,
        CASE WHEN lower(r.machine_open) IN ('true', '1', '1.0') THEN true
             WHEN lower(r.machine_open) IN ('false', '0', '0.0') THEN false END AS machine_open,
        CASE WHEN lower(r.bot_click) IN ('true', '1', '1.0') THEN true
             WHEN lower(r.bot_click) IN ('false', '0', '0.0') THEN false END AS bot_click,
        nullif(r.url, '') AS url
    FROM read_rows r
    LEFT JOIN (
        SELECT * FROM (VALUES
            ('received email', 'Received Email'), ('opened email', 'Opened Email'), ('clicked email', 'Clicked Email'),
            ('bounced email', 'Bounced Email'), ('dropped email', 'Dropped Email'),
            ('marked email as spam', 'Marked Email as Spam'), ('unsubscribed', 'Unsubscribed'),
            ('unsubscribed from email marketing', 'Unsubscribed from Email Marketing'),
            ('updated email preferences', 'Updated Email Preferences'), ('placed order', 'Placed Order')
        ) AS known (plain, name)
    ) m ON m.plain = replace(replace(replace(lower(trim(r.metric)), 'event:klaviyo.', ''), 'klaviyo:', ''), '_', ' ')
), judged AS (
    SELECT
        n.*,
        CASE
            WHEN event_us IS NULL THEN 'event_at is not a time'
            WHEN event_us < 1577836800000000 OR event_us > s.now_us + 172800000000
                THEN 'event_at is before 2020 or in the future'
            WHEN metric IS NULL OR metric = '' OR length(metric) > 200 THEN 'metric is not a name'
            WHEN profile_id IS NULL OR profile_id = '' THEN 'no profile_id'
            WHEN NOT regexp_like(profile_id, '^[!-~]{1,200}$') THEN 'profile_id is not an id'
            WHEN event_id IS NULL OR event_id = '' THEN 'no event_id'
            WHEN NOT regexp_like(event_id, '^[!-~]{1,200}$') THEN 'event_id is not an id'
            WHEN message_id IS NOT NULL AND NOT regexp_like(message_id, '^[!-~]{1,200}$') THEN 'message_id is not an id'
            WHEN flow_id IS NOT NULL AND NOT regexp_like(flow_id, '^[!-~]{1,200}$') THEN 'flow_id is not an id'
            WHEN transmission_id IS NOT NULL AND NOT regexp_like(transmission_id, '^[!-~]{1,200}$')
                THEN 'transmission_id is not an id'
        END AS reason,
        CASE
            WHEN said_handoff_us IS NOT NULL AND event_us - said_handoff_us >= -60000000
                AND event_us - said_handoff_us <= CASE
                    WHEN metric IN ('Received Email', 'Bounced Email', 'Dropped Email') THEN 259200000000
                    ELSE 31536000000000 END
                THEN said_handoff_us
        END AS handoff_us
    FROM named n CROSS JOIN settings s
)
SELECT
    file, event_id, metric, profile_id, event_us, message_id, flow_id,
    CASE
        WHEN transmission_id IS NULL AND message_id IS NOT NULL AND metric IN ('Bounced Email', 'Dropped Email')
            THEN concat('bounce:', message_id, ':', profile_id, ':',
                CAST(CAST(floor(coalesce(handoff_us, event_us) / 1000000.0) AS BIGINT) AS VARCHAR(20)))
        ELSE transmission_id
    END AS transmission_id,
    handoff_us, machine_open, bot_click, url, reason,
    CAST(floor(event_us / 86400000000.0) AS INT) AS day_number
FROM judged
