-- Events that are old enough go as generations do, a day at a time (services/ingest/retention.py), and with a day of
-- generations goes how its writes ended (services/egress/retention.py).

-- Events of days before `since` are gone: rows that tell of them are turned away, and what was made of them stays as it
-- is. One row, of no org: a partition holds all orgs' rows.
CREATE TABLE events_kept (
    one   bool PRIMARY KEY DEFAULT true CHECK (one),
    since date NOT NULL
);
INSERT INTO events_kept (since) VALUES ('-infinity');
ALTER TABLE events_kept ENABLE ROW LEVEL SECURITY;
ALTER TABLE events_kept FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON events_kept TO justai_worker USING (current_user = 'justai_worker');
CREATE POLICY tenant ON events_kept FOR SELECT TO justai_tenant USING (true);
GRANT SELECT, UPDATE ON events_kept TO justai_worker;
GRANT SELECT ON events_kept TO justai_tenant;

-- As detach_generations(): takes a day's partition out of `parent`, under another name, or raises lock_not_available. Of
-- events the days before 2026 are one partition.
CREATE FUNCTION detach_day(parent text, on_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    child text := CASE WHEN parent = 'events' AND on_day < '2026-01-01' THEN 'events_history'
                       ELSE format('%s_%s', parent, to_char(on_day, 'YYYYMMDD')) END;
BEGIN
    IF parent NOT IN ('events', 'write_outcomes') THEN
        RAISE EXCEPTION 'days of % are not dropped so', parent;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
    IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = parent::regclass AND inhrelid = to_regclass(child)) THEN
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', child, 'dropped_' || child);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION detach_day(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION detach_day(text, date) TO justai_worker;

CREATE FUNCTION drop_detached_days(parent text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child text;
BEGIN
    IF parent NOT IN ('events', 'write_outcomes') THEN
        RAISE EXCEPTION 'days of % are not dropped so', parent;
    END IF;
    FOR child IN SELECT relname FROM pg_class
                 WHERE relkind = 'r' AND relname ~ format('^dropped_%s_([0-9]{8}|history)$', parent)
                   AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', child);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION drop_detached_days(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_detached_days(text) TO justai_worker;
