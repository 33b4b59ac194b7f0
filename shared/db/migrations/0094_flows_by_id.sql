-- Whether two orgs read the same flows, and so are on one Klaviyo account, is asked by Troubleshooting.
CREATE INDEX flow_messages_by_flow ON flow_messages (flow_id);
