-- Webhooks that the gateway refused for good: Klaviyo skips their people and tells nobody (services/gateway/refusals.py).
-- Anybody may call the gateway's address, so nothing of what was sent is kept, and a flow is named only where the org has it.
CREATE TABLE refused_webhooks (
    org_id   uuid NOT NULL REFERENCES orgs,
    day      date NOT NULL,
    flow_id  text NOT NULL,     -- as Klaviyo's header X-Klaviyo-Flow-ID said; '': nothing, or a flow that is none of the org's
    code     text NOT NULL,     -- of the answer
    webhooks bigint NOT NULL,
    last_at  timestamptz NOT NULL,
    PRIMARY KEY (org_id, day, flow_id, code)
) WITH (fillfactor = 70);
SELECT secure_table('refused_webhooks');
