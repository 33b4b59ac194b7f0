-- One row per logical request of one person; written by the generator once, read by everyone.

CREATE TABLE generations (
    day             date NOT NULL,               -- of the window that the id was computed for
    generation_id   uuid NOT NULL,
    org_id          uuid NOT NULL,
    template_id     text NOT NULL,
    user_id         text NOT NULL,
    tracking_id     text NOT NULL,
    accepted_at     timestamptz NOT NULL,        -- the export's event_timestamp
    deadline_at     timestamptz NOT NULL,        -- the earliest moment at which the email may render
    clean_at        timestamptz NOT NULL,        -- from here on our copy must be off the profile
    decision        text NOT NULL CHECK (decision IN ('treatment', 'control')),
    reason          text NOT NULL,               -- uniform, … for treatment; template_draft, no_approved_variant, … for control
    copy_id         uuid,                        -- null: control
    variant_version int,
    property_prefix text NOT NULL,
    written_for     text NOT NULL,               -- value of <prefix>_for: the flow message that the copy is for
    snapshot_id     uuid,
    cell            text NOT NULL DEFAULT '',
    eligible        uuid[] NOT NULL DEFAULT '{}',
    probabilities   float8[] NOT NULL DEFAULT '{}',  -- of `eligible`, in its order, unrounded
    propensity      float8,
    attrs           jsonb NOT NULL DEFAULT '{}',     -- as given
    repairs         text[] NOT NULL DEFAULT '{}',
    vars            bytea,                       -- shared/vars_codec.py against (copy_id, variant_version); null: control
    PRIMARY KEY (day, generation_id)
) PARTITION BY RANGE (day);
CREATE INDEX generations_by_hour ON generations (org_id, accepted_at);
CREATE INDEX generations_by_person ON generations (org_id, user_id, accepted_at);
SELECT secure_table('generations');

-- The same request seen again across a window's edge has another id; its 202 named the alias.
CREATE TABLE generation_aliases (
    alias_id      uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    generation_id uuid NOT NULL,
    day           date NOT NULL,
    seen_at       timestamptz NOT NULL
);
SELECT secure_table('generation_aliases');
