-- As 0032_marks_of_many_sends.sql: the planner knows nothing of a trigger's transition tables, and joined them row by row
-- where an org exports outcomes, so that opens of many sends took as long as their number squared. What stands in both
-- unchanged cancels out, in one pass; a generation is looked for once, whatever changed of its send.
CREATE OR REPLACE FUNCTION mark_exports_sent_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM export_targets WHERE 'outcomes' = ANY (tables)) THEN
        INSERT INTO export_marks (org_id, table_name, hour)
        SELECT DISTINCT v.org_id, 'outcomes', date_trunc('hour', g.accepted_at, 'UTC')
        FROM (
            SELECT DISTINCT org_id, generation_day, generation_id FROM (
                SELECT org_id, transmission_id, generation_day, generation_id, sent_at, delivered, bounced,
                    unsubscribed, spam, human_opens > 0 AS opened, human_clicks > 0 AS clicked
                FROM before
                UNION ALL
                SELECT org_id, transmission_id, generation_day, generation_id, sent_at, delivered, bounced,
                    unsubscribed, spam, human_opens > 0, human_clicks > 0
                FROM changed
            ) both_sides
            GROUP BY org_id, transmission_id, generation_day, generation_id, sent_at, delivered, bounced,
                unsubscribed, spam, opened, clicked
            HAVING count(*) = 1
        ) v
        JOIN export_targets t ON t.org_id = v.org_id AND 'outcomes' = ANY (t.tables)
        CROSS JOIN LATERAL (
            SELECT accepted_at FROM generations g
            WHERE g.day = v.generation_day AND g.generation_id = v.generation_id LIMIT 1
        ) g;
    END IF;
    RETURN NULL;
END
$$;
