-- A day's partition is made apart and then attached. CREATE TABLE … PARTITION OF asks for the parent's ACCESS EXCLUSIVE
-- lock, so it waits for whoever reads the parent, a dump of hours among them, and every insert and select of all days
-- waits behind it. ATTACH PARTITION asks for SHARE UPDATE EXCLUSIVE, which goes together with both. None of these
-- parents may ever get a default partition: attaching would lock that one ACCESS EXCLUSIVE, and read it whole.
CREATE OR REPLACE FUNCTION ensure_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid WHERE c.relname = parent
    ) THEN
        RAISE EXCEPTION 'no partitioned table %', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(7331003);
    BEGIN
        -- Indexes and row triggers come with being attached.
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED'
                       ' INCLUDING STORAGE INCLUDING COMPRESSION)', child, parent);
    EXCEPTION WHEN duplicate_table THEN
        -- Somebody was faster, and is done since we hold the lock. Asking again instead would be answered from the
        -- catalogue cache, which waiting for an advisory lock does not refresh.
        RETURN;
    END;
    -- Before anybody can see it: it is never there without its walls.
    PERFORM secure_table(child::regclass);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, day, day + 1);
END
$$;
