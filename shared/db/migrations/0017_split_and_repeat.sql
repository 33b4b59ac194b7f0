-- Who is control by plan, and whether a person may get the same variant twice running.
ALTER TABLE templates
    ADD COLUMN split         text NOT NULL DEFAULT 'external' CHECK (split IN ('external', 'random', 'persistent')),
    ADD COLUMN control_ratio float8 NOT NULL DEFAULT 0 CHECK (control_ratio >= 0 AND control_ratio < 1),  -- while active
    ADD COLUMN split_salt    text NOT NULL DEFAULT '',        -- another one draws persistent groups anew
    ADD COLUMN control_share float8 NOT NULL DEFAULT 0        -- the holdout, which stays when the template is shipped
        CHECK (control_share >= 0 AND control_share < 1),
    ADD COLUMN repeats       text NOT NULL DEFAULT 'avoid' CHECK (repeats IN ('avoid', 'allow')),
    ADD CHECK (split <> 'external' OR control_ratio = 0);

-- The variant that a person got last of a template with a choice; older than 30 days: gone. Looking for it in 31
-- partitions of `generations` costs 0.2 ms a person, this table 0.01.
CREATE TABLE last_copies (
    org_id      uuid NOT NULL,
    template_id text NOT NULL,
    user_id     text NOT NULL,
    copy_id     uuid NOT NULL,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, template_id, user_id)
) WITH (fillfactor = 80);
SELECT secure_table('last_copies');
