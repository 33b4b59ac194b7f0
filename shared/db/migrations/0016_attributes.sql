-- What attrs mean (shared/schemas/attributes.py). json, not jsonb: the order of options counts.
ALTER TABLE orgs
    ADD COLUMN attributes json NOT NULL DEFAULT '{}' CHECK (json_typeof(attributes) = 'object'),
    ADD COLUMN time_zone  text;                        -- of date attributes; null: UTC
ALTER TABLE templates
    ADD COLUMN attributes  json NOT NULL DEFAULT '{}'  -- each instead of the org's of the same name
        CHECK (json_typeof(attributes) = 'object'),
    ADD COLUMN other_attrs text NOT NULL DEFAULT 'pass' CHECK (other_attrs IN ('pass', 'ignore'));  -- not defined ones
