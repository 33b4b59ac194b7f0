-- Spans of which the database knows nothing, because it was restored from before them: until then copy reached profiles
-- that no row tells of (services/profile_writer/losses.py). Written by `justai restored`. Of no org.
CREATE TABLE losses (
    until   timestamptz PRIMARY KEY,               -- the restored database knows what is accepted from here on
    since   timestamptz NOT NULL,                  -- the moment of the dump
    over_at timestamptz NOT NULL,                  -- profiles are not doubted any more
    CHECK (since < until AND until < over_at)
);
ALTER TABLE losses ENABLE ROW LEVEL SECURITY;
ALTER TABLE losses FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON losses TO justai_worker USING (current_user = 'justai_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON losses TO justai_worker;
