-- Which emails were taken for those of Klaviyo's own control branch when results and orders were counted last
-- (services/ingest/attribution/recounter.py). Nothing at first: what was counted before is counted anew once, by the first
-- ingest that looks.
CREATE TABLE control_messages (
    org_id      uuid NOT NULL,
    template_id text NOT NULL,
    message_id  text NOT NULL,
    PRIMARY KEY (org_id, template_id, message_id)
);
SELECT secure_table('control_messages');
