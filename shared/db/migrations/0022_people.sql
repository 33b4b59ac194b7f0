-- People, what they may do in which org, and how they are signed in. Tokens and codes are stored as SHA-256 of what was
-- handed out: they are random enough to need no slow hash.

-- A person is one account, whatever orgs it works in. Whoever serves one org sees its members only, and nothing that
-- could sign in as them.
CREATE TABLE users (
    user_id           uuid PRIMARY KEY,
    email             text NOT NULL UNIQUE CHECK (email = lower(email) AND email LIKE '%_@_%' AND length(email) <= 254),
    name              text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    password_hash     text NOT NULL,               -- argon2id, with its own parameters and salt
    sealed_totp       text,                        -- place users/<user_id>/totp
    totp_since        timestamptz,                 -- null: no second factor, or one that was not confirmed yet
    totp_step         bigint NOT NULL DEFAULT 0,   -- newest 30-second step of which a code was taken: none serves twice
    created_at        timestamptz NOT NULL,
    last_signed_in_at timestamptz,
    CHECK (totp_since IS NULL OR sealed_totp IS NOT NULL)
);

CREATE TABLE memberships (
    org_id     uuid NOT NULL REFERENCES orgs,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('viewer', 'reviewer', 'editor', 'owner')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id);
SELECT secure_table('memberships');

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON users TO justai_worker USING (current_user = 'justai_worker');
CREATE POLICY tenant ON users FOR SELECT TO justai_tenant
    USING (EXISTS (SELECT FROM memberships m WHERE m.user_id = users.user_id));  -- of which it sees its org's
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO justai_worker;
GRANT SELECT (user_id, email, name, totp_since, last_signed_in_at) ON users TO justai_tenant;

-- One-time codes for the day the phone is lost.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    digest  bytea NOT NULL CHECK (length(digest) = 32),
    used_at timestamptz,
    PRIMARY KEY (user_id, digest)
);

CREATE TABLE sessions (
    digest     bytea PRIMARY KEY CHECK (length(digest) = 32),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    stage      text NOT NULL CHECK (stage IN ('password', 'full')),  -- password: the second factor is still to come
    created_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL,                -- to the minute
    agent      text NOT NULL DEFAULT '',            -- browser and system in words, for the list of sessions
    notices    jsonb NOT NULL DEFAULT '[]'          -- to be shown once, on the next page
);
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE invites (
    invite_id  uuid PRIMARY KEY,
    org_id     uuid NOT NULL REFERENCES orgs,
    digest     bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    email      text NOT NULL CHECK (email = lower(email)),
    role       text NOT NULL CHECK (role IN ('viewer', 'reviewer', 'editor', 'owner')),
    invited_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE UNIQUE INDEX invites_open ON invites (org_id, email) WHERE used_at IS NULL;  -- a new one takes its place
SELECT secure_table('invites');

CREATE TABLE password_resets (
    digest     bytea PRIMARY KEY CHECK (length(digest) = 32),
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    drops_totp boolean NOT NULL,                    -- the second factor was lost too
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX password_resets_by_user ON password_resets (user_id);

-- How long who failed to sign in must wait, for all replicas. The key is a digest: of an account's email whether or not
-- there is such an account, of a network address, or of a user whose codes were wrong.
CREATE TABLE signin_delays (
    kind           text NOT NULL CHECK (kind IN ('account', 'address', 'code')),
    key            bytea NOT NULL CHECK (length(key) = 32),
    failures       int NOT NULL,
    last_failed_at timestamptz NOT NULL,
    blocked_until  timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX signin_delays_by_age ON signin_delays (last_failed_at);

-- None of these is of one org: who serves an org has no business here.
DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['recovery_codes', 'sessions', 'password_resets', 'signin_delays'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', target);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', target);
        EXECUTE format('CREATE POLICY worker ON %I TO justai_worker USING (current_user = ''justai_worker'')', target);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO justai_worker', target);
    END LOOP;
END
$$;
