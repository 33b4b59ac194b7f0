-- Emails that show no generation yet: whose are tried again for a week, and how many wait why. Written by ingest
-- (services/ingest/unmatched.py). The sends themselves are what waits; they are found by their message and day.

-- One row per message and day of sending of which some email was not attributed, or only by the flow that it names.
CREATE TABLE unmatched (
    org_id        uuid NOT NULL,
    day           date NOT NULL,
    message_id    text NOT NULL,                     -- '': of emails that name none
    next_at       timestamptz NOT NULL DEFAULT '-infinity',  -- when they are tried again
    tries         int NOT NULL DEFAULT 0,            -- in a row that found nothing: each rests twice as long as the last
    raised        bool NOT NULL DEFAULT true,        -- by a file with more of them, since the last try began
    tried_at      timestamptz,                       -- null: not yet, so nothing is counted
    setup         text,                              -- what flows and templates said then (unmatched_orgs)
    no_generation bigint NOT NULL DEFAULT 0,         -- emails that waited after the last try, by why
    other_message bigint NOT NULL DEFAULT 0,
    not_synced    bigint NOT NULL DEFAULT 0,         -- attributed by their flow, which is not synced: counted, for now
    claim_id      uuid,
    lease_until   timestamptz,                       -- of who tries now
    PRIMARY KEY (org_id, day, message_id)
) WITH (fillfactor = 70);
CREATE INDEX unmatched_due ON unmatched (next_at);
SELECT secure_table('unmatched');

-- What an org's attribution depends on beside its generations, and what waits for more than one.
CREATE TABLE unmatched_orgs (
    org_id      uuid PRIMARY KEY REFERENCES orgs,
    setup       text,                                -- a hash of its flow messages and of its templates' places in them
    counted_at  timestamptz,                         -- when these were counted: opens and clicks of the last days …
    no_delivery bigint NOT NULL DEFAULT 0,           -- … by emails of which no file says that they were sent
    claim_id    uuid,
    lease_until timestamptz
) WITH (fillfactor = 70);
SELECT secure_table('unmatched_orgs');

SET LOCAL ROLE justai_worker;  -- the owner sees no rows
INSERT INTO unmatched (org_id, day, message_id)
SELECT DISTINCT org_id, day, coalesce(message_id, '') FROM sends
WHERE attribution IN ('no_generation', 'other_message', 'flow')
  AND day >= (SELECT max(day) FROM sends) - 7;
RESET ROLE;
