-- What waits to be written to Klaviyo profiles, what the profiles are believed to hold, and how each write ended.
--
-- The account's row is the lock of everything under its account_key: intake, turns and settling take it first (several
-- accounts in the order of their keys), so that no other lock order can deadlock and no change is overlooked.

-- One Klaviyo account = one quota, whichever orgs use it, so it belongs to no org: for workers alone, no tenant right.
CREATE TABLE klaviyo_accounts (
    account_key          text PRIMARY KEY,
    burst_limit          int NOT NULL DEFAULT 75 CHECK (burst_limit > 0),     -- requests in a second
    steady_limit         int NOT NULL DEFAULT 700 CHECK (steady_limit > 0),   -- in a minute; RateLimit-Limit corrects it
    factor               float8 NOT NULL DEFAULT 0.9 CHECK (factor > 0 AND factor <= 1),  -- share of both that we use
    factor_at            timestamptz,                          -- when the factor last moved
    newest_slot          bigint NOT NULL DEFAULT 0,            -- epoch second of the first of `slots`
    slots                int[] NOT NULL DEFAULT '{}',          -- tokens paid in each second, newest first
    busy_until           timestamptz,                          -- the seconds paid for last are spent until then …
    busy_by              uuid,                                 -- … by this turn
    blocked_until        timestamptz,                          -- 429, or it does not answer: no call before
    blocked_reason       text,
    failures             int NOT NULL DEFAULT 0,               -- turns in a row in which no call was answered usefully
    advertised_limit     int,                                  -- RateLimit-*, as last seen
    advertised_remaining int,
    advertised_reset_s   int,                                  -- from advertised_at on
    advertised_at        timestamptz,
    last_served_at       timestamptz,
    runnable_at          timestamptz                           -- look at it then; null: nothing waits. May be early, never late
) WITH (fillfactor = 50);  -- updated in place many times a second; small, so it has no further index
ALTER TABLE klaviyo_accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE klaviyo_accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON klaviyo_accounts TO justai_worker USING (current_user = 'justai_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON klaviyo_accounts TO justai_worker;

-- An org whose key Klaviyo refuses: its writes wait. It holds as long as the integration is the one that was refused,
-- so a new key ends it whether or not anybody was listening.
CREATE TABLE write_pauses (
    org_id         uuid PRIMARY KEY REFERENCES orgs,
    account_key    text NOT NULL,
    reason         text NOT NULL,
    message        text NOT NULL,
    paused_at      timestamptz NOT NULL,
    integration_at timestamptz                                 -- integrations.updated_at of the refused key; null: none
);
CREATE INDEX write_pauses_by_account ON write_pauses (account_key);
SELECT secure_table('write_pauses');

-- At most one row per profile and prefix: the newest generation wins. action: `write` puts the generation's copy there;
-- `clear` takes away what an older generation left (the generation is control); `clean_up` does the same on our own
-- account, when the send window is over or the generation came too late.
-- lane 0: an older copy could show, 1: fresh, 2: retry, 3: clean-up.
CREATE TABLE pending_writes (
    account_key        text NOT NULL,
    profile_id         text NOT NULL,
    prefix             text NOT NULL,
    org_id             uuid NOT NULL,
    action             text NOT NULL CHECK (action IN ('write', 'clear', 'clean_up')),
    lane               smallint NOT NULL CHECK (lane BETWEEN 0 AND 3),
    day                date NOT NULL,
    generation_id      uuid NOT NULL,
    written_for        text NOT NULL,
    accepted_at        timestamptz NOT NULL,
    deadline_at        timestamptz NOT NULL,       -- the order within a lane; a `write` is not sent past it
    clean_at           timestamptz NOT NULL,       -- of the generation
    next_attempt_at    timestamptz NOT NULL,       -- not before; while taken: the end of the lease
    attempt            int NOT NULL DEFAULT 0,     -- tries that ended without an answer
    last_reason        text,
    taken_by           uuid,                       -- the turn that has it in flight
    sent_day           date,                       -- what is in flight, when a newer generation came meanwhile
    sent_generation_id uuid,
    sent_org_id        uuid,
    PRIMARY KEY (account_key, profile_id, prefix)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX pending_writes_by_turn ON pending_writes (account_key, lane, deadline_at);
CREATE INDEX pending_writes_by_attempt ON pending_writes (account_key, next_attempt_at) WHERE lane < 3;
CREATE INDEX pending_writes_by_clean_up ON pending_writes (account_key, next_attempt_at) WHERE lane = 3;
SELECT secure_table('pending_writes');

-- What each profile's prefix may show. Set to `unknown` before a write leaves, so that no crash forgets a dirty
-- profile. No row: nothing of ours is there. A `clean` row only remembers, until clean_at, which generation was decided
-- last, so that an older one that comes late does not return.
CREATE TABLE profile_state (
    account_key   text NOT NULL,
    profile_id    text NOT NULL,
    prefix        text NOT NULL,
    org_id        uuid NOT NULL,
    state         text NOT NULL CHECK (state IN ('clean', 'holding', 'unknown')),
    day           date NOT NULL,
    generation_id uuid NOT NULL,                   -- the newest one that was sent or decided
    written_for   text NOT NULL,                   -- the flow message that its copy shows in
    older_for     text[] NOT NULL DEFAULT '{}',    -- messages that older copies, perhaps still there, would show in
    accepted_at   timestamptz NOT NULL,
    clean_at      timestamptz NOT NULL,
    clean_queued  boolean NOT NULL DEFAULT false,  -- a pending row will see to it
    PRIMARY KEY (account_key, profile_id, prefix)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX profile_state_by_clean ON profile_state (account_key, clean_at) WHERE NOT clean_queued;
SELECT secure_table('profile_state');

-- How each generation's write ended; one row each, the first one stands.
CREATE TABLE write_outcomes (
    day           date NOT NULL,
    generation_id uuid NOT NULL,
    org_id        uuid NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN
        ('written', 'cleared', 'expired', 'superseded', 'rejected', 'nothing_to_clear')),
    reason        text,
    at            timestamptz NOT NULL,
    attempts      int NOT NULL,
    PRIMARY KEY (day, generation_id)
) PARTITION BY RANGE (day);
SELECT secure_table('write_outcomes');
