-- Webhooks that came from one flow and name another in their tracking id, as a cloned flow's do (services/gateway/strays.py).
-- They were let in by a key of the org. Of the last days alone.
CREATE TABLE stray_webhooks (
    org_id        uuid NOT NULL REFERENCES orgs,
    day           date NOT NULL,
    flow_id       text NOT NULL,     -- as Klaviyo's header X-Klaviyo-Flow-ID said
    named_flow_id text NOT NULL,     -- in the tracking id
    template_id   text NOT NULL,
    webhooks      bigint NOT NULL,
    last_at       timestamptz NOT NULL,
    PRIMARY KEY (org_id, day, flow_id, named_flow_id, template_id)
) WITH (fillfactor = 70);
SELECT secure_table('stray_webhooks');
