-- Generations that are old enough go, a day at a time, by dropping the day's partition (services/egress/retention.py).

-- The days that were dropped. Of no org: a partition holds all orgs' rows. Whoever would count such a day anew, or write
-- an hour of it over, must leave it alone.
CREATE TABLE dropped_days (
    day        date PRIMARY KEY,
    dropped_at timestamptz NOT NULL
);
ALTER TABLE dropped_days ENABLE ROW LEVEL SECURITY;
ALTER TABLE dropped_days FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON dropped_days TO justai_worker USING (current_user = 'justai_worker');
CREATE POLICY tenant ON dropped_days FOR SELECT TO justai_tenant USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON dropped_days TO justai_worker;
GRANT SELECT ON dropped_days TO justai_tenant;

-- Whether all that was ever said on a day is still there.
CREATE FUNCTION generations_kept(on_day date) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT to_regclass('generations_' || to_char(on_day, 'YYYYMMDD')) IS NOT NULL
       AND NOT EXISTS (SELECT FROM dropped_days d WHERE d.day = on_day)
$$;

-- Takes a day's partition out of the table, under another name: a row that comes very late may want the old one. The
-- table's lock is taken or not within 50 ms: for so long at most does an insert stand behind it. Raises lock_not_available.
CREATE FUNCTION detach_generations(on_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '50ms' AS $$
DECLARE
    child text := 'generations_' || to_char(on_day, 'YYYYMMDD');
BEGIN
    LOCK TABLE generations IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM pg_inherits
               WHERE inhparent = 'generations'::regclass AND inhrelid = to_regclass(child)) THEN
        EXECUTE format('ALTER TABLE generations DETACH PARTITION %I', child);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', child, 'dropped_' || child);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION detach_generations(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION detach_generations(date) TO justai_worker;

-- Nobody knows the detached table by name, so this waits for nobody and nobody for it, however long its files take.
CREATE FUNCTION drop_detached_generations(on_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', 'dropped_generations_' || to_char(on_day, 'YYYYMMDD'));
END
$$;
REVOKE ALL ON FUNCTION drop_detached_generations(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_detached_generations(date) TO justai_worker;

-- A late open makes ingest compute its send anew, which finds no generation any more. What the send was known to show
-- stays, and results with it.
CREATE FUNCTION keep_attribution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM dropped_days WHERE day = OLD.generation_day) THEN
        NEW.attribution := OLD.attribution;
        NEW.generation_id := OLD.generation_id;
        NEW.generation_day := OLD.generation_day;
        NEW.template_id := OLD.template_id;
        NEW.copy_id := OLD.copy_id;
        NEW.cell := OLD.cell;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER sends_keep_attribution BEFORE UPDATE ON sends FOR EACH ROW
    WHEN (OLD.generation_id IS NOT NULL AND NEW.generation_id IS DISTINCT FROM OLD.generation_id)
    EXECUTE FUNCTION keep_attribution();
