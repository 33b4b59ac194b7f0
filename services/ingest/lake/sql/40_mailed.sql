-- What the events of one transmission say together. Without delivery or bounce it is no send yet.
WITH facts AS (
    SELECT
        e.*,
        metric IN ('Received Email', 'Bounced Email', 'Dropped Email') AS sending,
        metric = 'Opened Email' AND machine_open IS NOT NULL AND NOT machine_open AS human_open,
        metric = 'Clicked Email' AND NOT coalesce(bot_click, false) AND (url IS NULL OR NOT regexp_like(lower(url),
            '^https?://[^/]*kmail-lists[.]|/(unsubscribe|manage-preferences|preferences|web-?view|view-in-browser)([/?#]|$)'
        )) AS human_click
    FROM events e
    WHERE transmission_id IS NOT NULL
), sums AS (
    SELECT
        transmission_id,
        min(CASE WHEN sending THEN profile_id END) AS profile_id,
        min(CASE WHEN sending THEN message_id END) AS message_id,
        min(CASE WHEN sending THEN flow_id END) AS flow_id,
        coalesce(
            min(CASE WHEN sending THEN handoff_us END), min(handoff_us),
            min(CASE WHEN metric = 'Received Email' THEN event_us END), min(CASE WHEN sending THEN event_us END)
        ) AS sent_us,
        max(CASE WHEN sending THEN 1 ELSE 0 END) AS is_send,
        max(CASE WHEN metric = 'Received Email' THEN 1 ELSE 0 END) AS delivered,
        max(CASE WHEN metric IN ('Bounced Email', 'Dropped Email') THEN 1 ELSE 0 END) AS bounced,
        max(CASE WHEN metric IN ('Unsubscribed', 'Unsubscribed from Email Marketing') THEN 1 ELSE 0 END) AS unsubscribed,
        max(CASE WHEN metric = 'Marked Email as Spam' THEN 1 ELSE 0 END) AS spam,
        min(CASE WHEN human_open THEN event_us END) AS first_open_us,
        CAST(sum(CASE WHEN human_open THEN 1 ELSE 0 END) AS BIGINT) AS human_opens,
        CAST(sum(CASE WHEN metric = 'Opened Email' AND NOT human_open THEN 1 ELSE 0 END) AS BIGINT) AS machine_opens,
        min(CASE WHEN human_click THEN event_us END) AS first_click_us,
        CAST(sum(CASE WHEN human_click THEN 1 ELSE 0 END) AS BIGINT) AS human_clicks,
        CAST(sum(CASE WHEN metric = 'Clicked Email' AND coalesce(bot_click, false) THEN 1 ELSE 0 END) AS BIGINT) AS bot_clicks
    FROM facts
    GROUP BY transmission_id
)
SELECT *, CAST(floor(sent_us / 86400000000.0) AS INT) AS day_number FROM sums WHERE is_send = 1
