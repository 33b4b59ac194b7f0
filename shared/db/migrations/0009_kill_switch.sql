-- The kill switch (ADR 0010): while stopped_at is set, no copy of the template, or of any template of the org, may reach
-- a profile. Written by `justai` alone; importing a template does not touch it.
ALTER TABLE orgs
    ADD COLUMN stopped_at     timestamptz,
    ADD COLUMN stopped_reason text,                 -- for people
    ADD CHECK (stopped_reason IS NULL OR stopped_at IS NOT NULL);
ALTER TABLE templates
    ADD COLUMN stopped_at     timestamptz,
    ADD COLUMN stopped_reason text,
    ADD CHECK (stopped_reason IS NULL OR stopped_at IS NOT NULL);
-- Few, and asked for every few seconds by every profile writer.
CREATE INDEX orgs_stopped ON orgs (org_id) WHERE stopped_at IS NOT NULL;
CREATE INDEX templates_stopped ON templates (org_id, template_id) WHERE stopped_at IS NOT NULL;

CREATE TRIGGER orgs_changed AFTER INSERT OR UPDATE OR DELETE ON orgs
    FOR EACH ROW EXECUTE FUNCTION notify_config();

-- What is stored fits the narrower list already, so nothing has to be read through while everybody waits.
ALTER TABLE write_outcomes
    DROP CONSTRAINT write_outcomes_outcome_check,
    ADD CONSTRAINT write_outcomes_outcome_check CHECK (outcome IN
        ('written', 'cleared', 'expired', 'superseded', 'rejected', 'nothing_to_clear', 'stopped')) NOT VALID;
