-- The snapshot that is served of a template, found without reading the others: those that were fitted before our own
-- uniform ones, the newest first (services/generator/store.py). Whoever stores a snapshot waits while this is built,
-- which reads each row once and none of their cells.
CREATE INDEX policy_snapshots_served ON policy_snapshots
    (org_id, template_id, (fitted_until IS NULL), created_at DESC, snapshot_id DESC);
