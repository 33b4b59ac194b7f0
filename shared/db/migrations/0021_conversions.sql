-- Orders and what else a shop wants of its emails: which send they follow, what they are worth, and that a variant which
-- drives people away can be paused.

ALTER TABLE templates
    ADD COLUMN conversions jsonb                      -- shared/schemas/conversions.py, all fields; null: not counted
        CHECK (jsonb_typeof(conversions) = 'object'),
    ADD COLUMN conversions_stale bool NOT NULL DEFAULT false;  -- ingest has still to count by the present definition

CREATE FUNCTION note_conversions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.conversions IS NULL THEN
        RETURN NEW;
    END IF;
    -- Both branches of the control's message decide what is a send of the template.
    IF TG_OP = 'INSERT' OR (OLD.conversions, OLD.control_action_id)
            IS DISTINCT FROM (NEW.conversions, NEW.control_action_id) THEN
        NEW.conversions_stale := true;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER templates_conversions BEFORE INSERT OR UPDATE OF conversions, control_action_id ON templates
    FOR EACH ROW EXECUTE FUNCTION note_conversions();
CREATE INDEX templates_stale ON templates (org_id, template_id) WHERE conversions_stale;

-- As the rows say it. order_id: what an order and its refund share.
ALTER TABLE events
    ADD COLUMN currency text,
    ADD COLUMN order_id text;
-- A shop's own events name no email; they are found by their person.
CREATE INDEX events_of_person ON events (org_id, profile_id, event_at) WHERE transmission_id IS NULL;

-- What an event did to a send: an order its value, a refund the same below zero. Always computed from `events` and
-- `sends`, never added up. A send has converted when an order of its own is not refunded whole.
CREATE TABLE conversions (
    org_id          uuid NOT NULL,
    template_id     text NOT NULL,
    event_id        text NOT NULL,
    order_event_id  text NOT NULL,                    -- a refund's order; an order's own event_id
    transmission_id text NOT NULL,
    at              timestamptz NOT NULL,
    value           numeric,                          -- null: not said, or in another currency than the template's
    currency        text,                             -- as said; null: not said
    PRIMARY KEY (org_id, event_id, template_id)       -- each template has its own last touch
);
CREATE INDEX conversions_by_send ON conversions (org_id, transmission_id);
SELECT secure_table('conversions');

-- Sends that converted, and what their orders came to, refunds taken off, in the template's currency.
ALTER TABLE rollups
    ADD COLUMN conversions bigint NOT NULL DEFAULT 0,
    ADD COLUMN revenue     numeric NOT NULL DEFAULT 0;

-- The guardrail takes a variant out; a person may put it in again.
ALTER TABLE variants
    DROP CONSTRAINT variants_state_check,
    ADD CONSTRAINT variants_state_check CHECK (state IN ('draft', 'approved', 'paused', 'archived'));
ALTER TABLE variant_events
    DROP CONSTRAINT variant_events_event_check,
    ADD CONSTRAINT variant_events_event_check CHECK (event IN
        ('written', 'checked', 'submitted', 'approved', 'rejected', 'withdrawn', 'rolled_back', 'archived', 'restored',
         'paused', 'resumed'));

-- What one send has earned for a template until a moment: when its first order came that still stands, null: none; and
-- what its orders came to, refunds taken off. An order without a value has converted all the same, unless it was refunded.
CREATE FUNCTION earned(org uuid, template text, transmission text, until timestamptz)
RETURNS TABLE (converted_at timestamptz, revenue numeric) LANGUAGE sql STABLE AS $$
    SELECT min(o.at), coalesce(sum(o.net), 0) FROM (
        SELECT min(c.at) FILTER (WHERE c.event_id = c.order_event_id) AS at,
            greatest(coalesce(sum(c.value), 0), 0) AS net
        FROM conversions c
        WHERE c.org_id = org AND c.template_id = template AND c.transmission_id = transmission AND c.at <= until
        GROUP BY c.order_event_id
        HAVING bool_or(c.event_id = c.order_event_id)
           AND NOT (bool_or(c.event_id <> c.order_event_id) AND coalesce(sum(c.value), 0) <= 0)
    ) o
$$;
