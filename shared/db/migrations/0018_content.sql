-- Copy as its author wrote it beside the copy that is served; the life of a variant; an org's rules for its copy.

-- What the author wrote where it is not what is served (cleaned, inlined, made of MJML). The columns subject, preheader
-- and body stay what is served, and what stored copies are compressed against. Null: served as written.
ALTER TABLE variant_versions
    ADD COLUMN source_body text,
    ADD COLUMN source_kind text NOT NULL DEFAULT 'html' CHECK (source_kind IN ('html', 'mjml')),
    ADD COLUMN author      text NOT NULL DEFAULT '';

-- A version that is on its way to be served beside (or before) the one that is. `state` and `version` keep their
-- meaning for whoever serves: only state 'approved' is served, at `version`.
ALTER TABLE variants
    ADD COLUMN proposed_version int CHECK (proposed_version >= 1),
    ADD COLUMN proposed_state   text CHECK (proposed_state IN ('draft', 'checked', 'in_review')),
    ADD CHECK ((proposed_version IS NULL) = (proposed_state IS NULL));

ALTER TABLE templates ADD COLUMN required_fields text[] NOT NULL DEFAULT '{}';  -- checks at approval need them again

ALTER TABLE orgs ADD COLUMN review_required boolean NOT NULL DEFAULT false;

-- Who did what with which version. Append-only; the history, and what a rollback goes back to.
CREATE TABLE variant_events (
    event_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id     uuid NOT NULL,
    copy_id    uuid NOT NULL REFERENCES variants,
    version    int NOT NULL,
    event      text NOT NULL CHECK (event IN
        ('written', 'checked', 'submitted', 'approved', 'rejected', 'withdrawn', 'rolled_back', 'archived', 'restored')),
    actor      text NOT NULL,
    comment    text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL
);
CREATE INDEX variant_events_by_variant ON variant_events (copy_id, event_id);
SELECT secure_table('variant_events');
REVOKE UPDATE, DELETE ON variant_events FROM justai_worker, justai_tenant;

SET LOCAL ROLE justai_worker;  -- the owner sees no rows
-- Before there was a history, every version of an approved variant had been served.
INSERT INTO variant_events (org_id, copy_id, version, event, actor, comment, created_at)
SELECT t.org_id, t.copy_id, t.version, 'approved', 'import', 'before there was a history', t.created_at
FROM variant_versions t JOIN variants v USING (copy_id)
WHERE v.state = 'approved' AND t.version <= v.version ORDER BY t.copy_id, t.version;
RESET ROLE;

-- Banned words, promo codes, end dates: see shared/content/rules.py for its shape.
CREATE TABLE content_rules (
    org_id     uuid PRIMARY KEY REFERENCES orgs,
    rules      jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);
SELECT secure_table('content_rules');
