-- More than the page's record for who asks for it: the analyst's columns, tables of variants and of outcomes, another
-- layout. And what became of hours that somebody had to be taken out of.

ALTER TABLE export_targets
    ADD COLUMN record       text NOT NULL DEFAULT 'page' CHECK (record IN ('page', 'analyst')),
    ADD COLUMN tables       text[] NOT NULL DEFAULT '{}' CHECK (tables <@ ARRAY['variants', 'outcomes']),
    ADD COLUMN layout       text NOT NULL DEFAULT 'plain' CHECK (layout IN ('plain', 'hive')),
    ADD COLUMN success_file boolean NOT NULL DEFAULT false;  -- an empty `_SUCCESS` in each hour's folder

ALTER TABLE export_hours
    ADD COLUMN schema_version int,                -- of the last finished export; 2: with the analyst's columns
    ADD COLUMN people_deleted bigint NOT NULL DEFAULT 0,  -- how often somebody was taken out of this hour
    DROP CONSTRAINT export_hours_reason_check,
    ADD CONSTRAINT export_hours_reason_check
        CHECK (reason IN ('schedule', 'backfill', 'dirty', 'person_deleted'));

-- As before, and for the table of outcomes too, which has a row for each generation. A deletion that waits for its
-- export stays the reason of it.
CREATE OR REPLACE FUNCTION mark_export_hours() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched record;
BEGIN
    FOR touched IN
        SELECT DISTINCT org_id, date_trunc('hour', accepted_at, 'UTC') AS hour FROM inserted ORDER BY 1, 2
    LOOP
        PERFORM pg_advisory_xact_lock_shared(export_hour_lock(touched.org_id, touched.hour));
        UPDATE export_hours e
        SET dirty_seq = e.dirty_seq + 1, due_at = '-infinity',
            reason = CASE WHEN e.reason = 'person_deleted' AND e.dirty_seq > e.exported_seq THEN e.reason ELSE 'dirty' END,
            state = CASE WHEN e.state = 'exporting' THEN e.state ELSE 'pending' END
        WHERE e.org_id = touched.org_id AND e.table_name IN ('generations', 'outcomes') AND e.hour = touched.hour;
    END LOOP;
    RETURN NULL;
END
$$;

-- An hour holds something new that is no new generation: how a write ended, what became of an email. Only ever appended
-- to, in the transaction of the change, and taken away by the exporter's scheduler, which raises the hours: a file of
-- events may take minutes, and whoever inserts a late generation must not wait for it. No index, for it is short.
CREATE TABLE export_marks (
    org_id     uuid NOT NULL,
    table_name text NOT NULL,
    hour       timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
SELECT secure_table('export_marks');

-- Nothing is looked up where no org asks for it. Generations are found one by one: the planner knows nothing of a
-- transition table, and would join whole days.
CREATE FUNCTION mark_exports_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM export_targets WHERE record = 'analyst') THEN
        INSERT INTO export_marks (org_id, table_name, hour)
        SELECT DISTINCT c.org_id, 'generations', date_trunc('hour', g.accepted_at, 'UTC')
        FROM changed c JOIN export_targets t ON t.org_id = c.org_id AND t.record = 'analyst'
        CROSS JOIN LATERAL (
            SELECT accepted_at FROM generations g WHERE g.day = c.day AND g.generation_id = c.generation_id LIMIT 1
        ) g;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER write_outcomes_exported AFTER INSERT ON write_outcomes
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_exports_ended();

CREATE FUNCTION mark_exports_sent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM export_targets WHERE 'outcomes' = ANY (tables)) THEN
        INSERT INTO export_marks (org_id, table_name, hour)
        SELECT DISTINCT c.org_id, 'outcomes', date_trunc('hour', g.accepted_at, 'UTC')
        FROM changed c JOIN export_targets t ON t.org_id = c.org_id AND 'outcomes' = ANY (t.tables)
        CROSS JOIN LATERAL (
            SELECT accepted_at FROM generations g
            WHERE g.day = c.generation_day AND g.generation_id = c.generation_id LIMIT 1
        ) g;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER sends_exported AFTER INSERT ON sends
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_exports_sent();
CREATE TRIGGER sends_unexported AFTER DELETE ON sends
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_exports_sent();

-- Only what the table tells: the second open of a person changes nothing.
CREATE FUNCTION mark_exports_sent_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM export_targets WHERE 'outcomes' = ANY (tables)) THEN
        INSERT INTO export_marks (org_id, table_name, hour)
        SELECT DISTINCT c.org_id, 'outcomes', date_trunc('hour', g.accepted_at, 'UTC')
        FROM before b JOIN changed c USING (org_id, transmission_id)
        JOIN export_targets t ON t.org_id = c.org_id AND 'outcomes' = ANY (t.tables)
        CROSS JOIN LATERAL (VALUES (b.generation_day, b.generation_id), (c.generation_day, c.generation_id))
            v (day, generation_id)
        CROSS JOIN LATERAL (
            SELECT accepted_at FROM generations g WHERE g.day = v.day AND g.generation_id = v.generation_id LIMIT 1
        ) g
        WHERE (b.generation_id, b.sent_at, b.delivered, b.bounced, b.unsubscribed, b.spam, b.human_opens > 0,
               b.human_clicks > 0)
            IS DISTINCT FROM (c.generation_id, c.sent_at, c.delivered, c.bounced, c.unsubscribed, c.spam,
               c.human_opens > 0, c.human_clicks > 0);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER sends_exported_anew AFTER UPDATE ON sends
    REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_exports_sent_anew();

CREATE FUNCTION mark_exports_earned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM export_targets WHERE 'outcomes' = ANY (tables)) THEN
        INSERT INTO export_marks (org_id, table_name, hour)
        SELECT DISTINCT c.org_id, 'outcomes', date_trunc('hour', g.accepted_at, 'UTC')
        FROM changed c JOIN export_targets t ON t.org_id = c.org_id AND 'outcomes' = ANY (t.tables)
        CROSS JOIN LATERAL (
            SELECT s.generation_day, s.generation_id FROM sends s
            WHERE s.org_id = c.org_id AND s.transmission_id = c.transmission_id LIMIT 1
        ) s
        CROSS JOIN LATERAL (
            SELECT accepted_at FROM generations g
            WHERE g.day = s.generation_day AND g.generation_id = s.generation_id LIMIT 1
        ) g;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER conversions_exported AFTER INSERT ON conversions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_exports_earned();
CREATE TRIGGER conversions_unexported AFTER DELETE ON conversions
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_exports_earned();
