-- Campaigns beside flows: their emails, by the ids that events carry, and when each kind was last read from Klaviyo.

CREATE TABLE campaign_messages (
    org_id          uuid NOT NULL REFERENCES orgs,
    campaign_id     text NOT NULL,
    campaign_name   text NOT NULL,
    campaign_status text NOT NULL,             -- as Klaviyo spells it, which differs by revision
    message_id      text NOT NULL,
    message_name    text NOT NULL,
    synced_at       timestamptz NOT NULL,
    PRIMARY KEY (org_id, message_id)
);
SELECT secure_table('campaign_messages');

-- An account without a flow, or without a campaign, was read all the same.
CREATE TABLE klaviyo_reads (
    org_id   uuid NOT NULL REFERENCES orgs,
    kind     text NOT NULL CHECK (kind IN ('flows', 'campaigns')),
    tried_at timestamptz NOT NULL,
    read_at  timestamptz,                      -- when it last worked; null: never
    found    int NOT NULL DEFAULT 0,           -- flows or campaigns with an email, then
    problem  text,                             -- why it did not work at tried_at
    PRIMARY KEY (org_id, kind)
);
SELECT secure_table('klaviyo_reads');

SET LOCAL ROLE justai_worker;  -- the owner sees no rows
INSERT INTO klaviyo_reads (org_id, kind, tried_at, read_at, found)
SELECT org_id, 'flows', max(synced_at), max(synced_at), count(DISTINCT flow_id) FROM flow_messages GROUP BY org_id;
RESET ROLE;
