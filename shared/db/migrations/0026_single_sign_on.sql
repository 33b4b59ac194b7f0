-- Signing in through an OpenID Connect provider beside passwords (ADR 0020). Expand step: the previous release asks for
-- a password that such people do not have, and lets nobody in by mistake.

ALTER TABLE users
    ALTER COLUMN password_hash DROP NOT NULL,    -- null: signs in through the provider alone
    ADD COLUMN has_password boolean NOT NULL GENERATED ALWAYS AS (password_hash IS NOT NULL) STORED;
GRANT SELECT (has_password) ON users TO justai_tenant;

-- Given by a group of the provider, whose next word may change or end it; what is given by hand it leaves alone.
ALTER TABLE memberships ADD COLUMN by_group boolean NOT NULL DEFAULT false;

ALTER TABLE sessions
    ADD COLUMN signed_in_with text NOT NULL DEFAULT 'password'
        CHECK (signed_in_with IN ('password', 'provider', 'link')),
    ADD COLUMN sealed_id_token text;             -- place sessions/<digest>/id_token; shown to the provider at sign-out

-- Who somebody is at a provider. The subject is theirs for ever there; the email may change, or go to somebody else.
CREATE TABLE identities (
    issuer       text NOT NULL,
    subject      text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    email        text NOT NULL,                  -- verified, by which the account was found
    linked_at    timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, issuer)
);

-- Sign-ins that were answered: none is answered twice.
CREATE TABLE answered_flows (
    digest      bytea PRIMARY KEY CHECK (length(digest) = 32),
    answered_at timestamptz NOT NULL
);
CREATE INDEX answered_flows_by_age ON answered_flows (answered_at);

-- One-time links of the operator that sign an owner in when the provider cannot.
CREATE TABLE signin_links (
    digest     bytea PRIMARY KEY CHECK (length(digest) = 32),
    user_id    uuid NOT NULL UNIQUE REFERENCES users ON DELETE CASCADE,  -- a new one takes its place
    expires_at timestamptz NOT NULL
);

-- Who signed in, when and how: for the person, and for whoever has to find out.
CREATE TABLE signins (
    signin_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    user_id   uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    at        timestamptz NOT NULL,
    how       text NOT NULL CHECK (how IN ('password', 'provider', 'link')),
    agent     text NOT NULL,                     -- browser and system in words
    address   text NOT NULL
);
CREATE INDEX signins_by_user ON signins (user_id, signin_id);
CREATE INDEX signins_by_age ON signins (at);

DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['identities', 'answered_flows', 'signin_links', 'signins'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', target);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', target);
        EXECUTE format('CREATE POLICY worker ON %I TO justai_worker USING (current_user = ''justai_worker'')', target);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO justai_worker', target);
    END LOOP;
END
$$;

-- Whoever serves an org sees which of its members are linked, and to whom nowhere.
CREATE POLICY tenant ON identities FOR SELECT TO justai_tenant
    USING (EXISTS (SELECT FROM memberships m WHERE m.user_id = identities.user_id));
GRANT SELECT (user_id, issuer) ON identities TO justai_tenant;
