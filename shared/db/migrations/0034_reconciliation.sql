-- Our counts of emails beside Klaviyo's own totals, hour by hour, with the difference and what is likely to cause it.

-- One row per org that is connected to Klaviyo: when it is compared again, and how it went.
CREATE TABLE reconcile_orgs (
    org_id         uuid PRIMARY KEY REFERENCES orgs,
    due_at         timestamptz,                -- null: at once
    claim_id       uuid,
    lease_until    timestamptz,                -- of who compares now
    tried_at       timestamptz,
    problem        text,                       -- why nothing, or not all, could be compared at tried_at
    compared_at    timestamptz,                -- of the newest rows in reconciliations; null: never
    time_zone      text,                       -- of the account; null: the key may not read it, so UTC was taken for it
    sent_since     timestamptz,                -- whole days of that zone
    sent_until     timestamptz,
    happened_since timestamptz,
    happened_until timestamptz
);
SELECT secure_table('reconcile_orgs');

-- Flow values reports have the smallest quota of all, and the account's, whoever of its orgs asks.
CREATE TABLE klaviyo_report_calls (
    account_key text PRIMARY KEY,
    last_at     timestamptz NOT NULL
);
ALTER TABLE klaviyo_report_calls ENABLE ROW LEVEL SECURITY;
ALTER TABLE klaviyo_report_calls FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON klaviyo_report_calls TO justai_worker USING (current_user = 'justai_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON klaviyo_report_calls TO justai_worker;

-- One row per message, measure and way of counting: by when the email was sent, or by when it happened.
CREATE TABLE reconciliations (
    org_id      uuid NOT NULL REFERENCES orgs,
    compared_at timestamptz NOT NULL,
    basis       text NOT NULL CHECK (basis IN ('sent', 'happened')),
    message_id  text NOT NULL,
    flow_id     text,
    measure     text NOT NULL,
    ours        bigint NOT NULL,               -- all events, machines' too, like Klaviyo's
    theirs      bigint NOT NULL,
    people      bigint,                        -- opens and clicks: those of ours that are known to be people's
    cause       text NOT NULL,                 -- shared/reconciling.py
    PRIMARY KEY (org_id, compared_at, basis, message_id, measure)
);
SELECT secure_table('reconciliations');

-- Sends of some days, of all messages. They are stored in the order of their days, near enough, and a summary of blocks
-- costs a load nothing, which another tree would.
CREATE INDEX sends_of_days ON sends USING brin (day) WITH (pages_per_range = 32);
