-- The bulk road: writes that single requests cannot carry in time go by Klaviyo's bulk import jobs.

ALTER TABLE klaviyo_accounts
    ADD COLUMN bulk_look_at        timestamptz,            -- see then whether it is needed, or what its jobs do; null: no
    ADD COLUMN bulk_until          timestamptz,            -- a worker is at it until then
    ADD COLUMN bulk_create_at      timestamptz,            -- no job is made before: pace, Retry-After, no answer
    ADD COLUMN bulk_poll_at        timestamptz,            -- jobs are not listed before
    ADD COLUMN bulk_failures       int NOT NULL DEFAULT 0, -- rounds in a row in which making a job was not answered
    ADD COLUMN bulk_listed_at      timestamptz;            -- when jobs were last listed; null: they cannot be now

-- An org whose key Klaviyo does not let take the road: asked again after an hour, or with another integration.
CREATE TABLE bulk_refusals (
    org_id         uuid PRIMARY KEY REFERENCES orgs,
    reason         text NOT NULL,
    refused_at     timestamptz NOT NULL,
    integration_at timestamptz NOT NULL             -- integrations.updated_at of the refused key
);
SELECT secure_table('bulk_refusals');

-- One import job. Its rows are `pending_writes` taken by job_id; they stay taken until it is known what became of the
-- job, because it could still put an older generation over a newer one. The arrays are its rows in the order of sending,
-- which is how Klaviyo's errors name them; empty once it has ended.
CREATE TABLE bulk_jobs (
    job_id         uuid PRIMARY KEY,
    account_key    text NOT NULL,
    org_id         uuid NOT NULL REFERENCES orgs,
    state          text NOT NULL CHECK (state IN ('sending', 'lost', 'running', 'ended')),
    klaviyo_job_id text,                        -- null: sending, or its answer was lost
    profile_ids    text[] NOT NULL,
    prefixes       text[] NOT NULL,
    days           date[] NOT NULL,
    generation_ids uuid[] NOT NULL,
    deadlines      timestamptz[] NOT NULL,
    rows           int NOT NULL,
    bytes          int NOT NULL,
    sent_at        timestamptz NOT NULL,
    lost_at        timestamptz,                 -- when it was known that no answer comes
    ended_at       timestamptz,
    ending         text,                        -- complete, cancelled, refused, not_made, given_up
    refused_rows   int NOT NULL DEFAULT 0,      -- tried again one by one
    latency_s      float8                       -- from made to complete, by Klaviyo's clock; what we decide with
);
CREATE INDEX bulk_jobs_open ON bulk_jobs (account_key, sent_at) WHERE state <> 'ended';
CREATE INDEX bulk_jobs_by_age ON bulk_jobs (account_key, sent_at DESC);
SELECT secure_table('bulk_jobs');
