-- Who adds many sends at once knows when their generations were accepted, and marks the quarters itself
-- (services/ingest/ahead.py): to look for them here read a whole day of generations for each file.
CREATE OR REPLACE FUNCTION mark_shown_sent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('app.sends_marked', true) = 'yes' THEN
        RETURN NULL;
    END IF;
    INSERT INTO shown_marks (org_id, at)
    SELECT DISTINCT g.org_id, quarter_of(g.accepted_at) FROM changed c
    JOIN generations g ON g.day = c.generation_day AND g.generation_id = c.generation_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION mark_shown_sent_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('app.sends_marked', true) = 'yes' THEN
        RETURN NULL;
    END IF;
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
