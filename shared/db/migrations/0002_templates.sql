-- What may be said: templates (one email step each), their variants, and the policy that chooses.

CREATE TABLE templates (
    org_id              uuid NOT NULL REFERENCES orgs,
    template_id         text NOT NULL CHECK (template_id ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
    name                text NOT NULL,
    state               text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'active', 'shipped', 'archived')),
    property_prefix     text NOT NULL DEFAULT 'jai' CHECK (property_prefix ~ '^[a-z][a-z0-9_]{0,31}$'),
    delay_s             int CHECK (delay_s BETWEEN 1 AND 2592000),   -- where flow sync does not know it; null: 120
    send_window_s       int NOT NULL DEFAULT 900 CHECK (send_window_s > 0),  -- after the deadline, until clean-up
    flow_id             text,
    treatment_action_id text,
    control_action_id   text,
    control_subject     text NOT NULL DEFAULT '',   -- what the email shows when our copy must not
    control_preheader   text NOT NULL DEFAULT '',
    control_body        text NOT NULL DEFAULT '',
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    PRIMARY KEY (org_id, template_id)
);
SELECT secure_table('templates');
CREATE TRIGGER templates_changed AFTER INSERT OR UPDATE OR DELETE ON templates
    FOR EACH ROW EXECUTE FUNCTION notify_config();

CREATE TABLE variants (
    org_id      uuid NOT NULL,
    copy_id     uuid PRIMARY KEY,
    template_id text NOT NULL,
    name        text NOT NULL,
    theme       text NOT NULL DEFAULT '',
    state       text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'approved', 'archived')),
    version     int NOT NULL DEFAULT 1 CHECK (version >= 1),          -- the one that is served
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (org_id, template_id, name),
    FOREIGN KEY (org_id, template_id) REFERENCES templates
);
SELECT secure_table('variants');
CREATE TRIGGER variants_changed AFTER INSERT OR UPDATE OR DELETE ON variants
    FOR EACH ROW EXECUTE FUNCTION notify_config();

-- Texts in Liquid. Immutable, never deleted: stored copies are compressed against them (see shared/vars_codec.py).
CREATE TABLE variant_versions (
    org_id     uuid NOT NULL,
    copy_id    uuid NOT NULL REFERENCES variants,
    version    int NOT NULL,
    subject    text NOT NULL,
    preheader  text NOT NULL,
    body       text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (copy_id, version)
);
SELECT secure_table('variant_versions');
REVOKE UPDATE, DELETE ON variant_versions FROM justai_worker, justai_tenant;

-- A policy: for each cell of attrs the probability of each variant. `cells` is {"<cell>": {"<copy_id>": p}},
-- `otherwise` the same for cells that are not listed.
CREATE TABLE policy_snapshots (
    org_id      uuid NOT NULL,
    template_id text NOT NULL,
    snapshot_id uuid NOT NULL,
    model       text NOT NULL,
    cells       jsonb NOT NULL,
    otherwise   jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (org_id, snapshot_id),
    FOREIGN KEY (org_id, template_id) REFERENCES templates
);
SELECT secure_table('policy_snapshots');
CREATE TRIGGER policy_snapshots_changed AFTER INSERT ON policy_snapshots
    FOR EACH ROW EXECUTE FUNCTION notify_config();
