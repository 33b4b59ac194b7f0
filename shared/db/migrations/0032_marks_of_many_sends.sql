-- The planner knows nothing of a trigger's transition tables and joined them row by row: 8,000 sends that were opened took
-- 45 seconds. What stands in both unchanged cancels out, in one pass.
CREATE OR REPLACE FUNCTION mark_shown_sent_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shown_marks (org_id, at)
    SELECT DISTINCT g.org_id, quarter_of(g.accepted_at)
    FROM (
        SELECT generation_day, generation_id FROM (
            SELECT org_id, transmission_id, generation_day, generation_id, sent_at FROM before
            UNION ALL
            SELECT org_id, transmission_id, generation_day, generation_id, sent_at FROM changed
        ) both_sides
        GROUP BY org_id, transmission_id, generation_day, generation_id, sent_at HAVING count(*) = 1
    ) v
    JOIN generations g ON g.day = v.generation_day AND g.generation_id = v.generation_id;
    RETURN NULL;
END
$$;
