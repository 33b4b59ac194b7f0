-- What `justai results` needs: when a template was shipped last (whether its win lasts), and the emails of control.

ALTER TABLE templates ADD COLUMN shipped_at timestamptz;   -- null: never; kept when it is taken out of service

CREATE FUNCTION note_shipping() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'shipped' AND (TG_OP = 'INSERT' OR OLD.state <> 'shipped') THEN
        NEW.shipped_at := NEW.updated_at;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER templates_shipped BEFORE INSERT OR UPDATE OF state ON templates
    FOR EACH ROW EXECUTE FUNCTION note_shipping();

-- Emails of a control branch that never calls us are found by their message.
CREATE INDEX sends_unattributed ON sends (org_id, message_id, day) WHERE template_id IS NULL;
