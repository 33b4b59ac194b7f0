-- Which process can open what: a key must not seal anything before all that run have it. Of no org.
CREATE TABLE ring_holders (
    holder_id uuid PRIMARY KEY,
    service   text NOT NULL,
    host      text NOT NULL,
    keys      text[] NOT NULL,                 -- names; the first one seals
    seen_at   timestamptz NOT NULL             -- real time, every 15 seconds
);
ALTER TABLE ring_holders ENABLE ROW LEVEL SECURITY;
ALTER TABLE ring_holders FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON ring_holders TO justai_worker USING (current_user = 'justai_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON ring_holders TO justai_worker;

-- A secret that is only wrapped anew is the same secret: a source that refuses it is not tried again for that.
CREATE OR REPLACE FUNCTION give_source_another_try() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sealed_key <> OLD.sealed_key AND split_part(NEW.sealed_key, '.', 4) = split_part(OLD.sealed_key, '.', 4)
       AND NEW.sealed_key LIKE 'v1.%' THEN
        RETURN NEW;
    END IF;
    NEW.refused_at := NULL;
    NEW.next_poll_at := NULL;
    RETURN NEW;
END
$$;
