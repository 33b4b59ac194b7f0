-- Sends counted by variant (null: control) and day of sending; each counts once per column.
SELECT
    template_id, copy_id, day_number, count(*) AS sends,
    CAST(sum(CASE WHEN delivered THEN 1 ELSE 0 END) AS BIGINT) AS delivered,
    CAST(sum(CASE WHEN human_opens > 0 THEN 1 ELSE 0 END) AS BIGINT) AS human_opens,
    CAST(sum(CASE WHEN machine_opens > 0 THEN 1 ELSE 0 END) AS BIGINT) AS machine_opens,
    CAST(sum(CASE WHEN human_clicks > 0 THEN 1 ELSE 0 END) AS BIGINT) AS human_clicks,
    CAST(sum(CASE WHEN bot_clicks > 0 THEN 1 ELSE 0 END) AS BIGINT) AS bot_clicks,
    CAST(sum(CASE WHEN unsubscribed THEN 1 ELSE 0 END) AS BIGINT) AS unsubscribes,
    CAST(sum(CASE WHEN bounced THEN 1 ELSE 0 END) AS BIGINT) AS bounces,
    CAST(sum(CASE WHEN spam THEN 1 ELSE 0 END) AS BIGINT) AS spam
FROM sends
WHERE template_id IS NOT NULL
GROUP BY template_id, copy_id, day_number
