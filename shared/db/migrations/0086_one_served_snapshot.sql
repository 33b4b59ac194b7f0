-- Which snapshot is served of a template: the newest that covers exactly these variants. One that was fitted goes before
-- our own uniform ones: a generator that had not heard of it yet may store its uniform one after it. Older policies over
-- other sets stay for the record. Only the id is looked for, in the order of `policy_snapshots_served`: else years of
-- cells are read and sorted, of which one row's are wanted.
CREATE FUNCTION served_snapshot(org uuid, template text, variants text[], as_of timestamptz DEFAULT 'infinity')
RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT c.snapshot_id FROM (
        SELECT snapshot_id, otherwise, fitted_until IS NULL AS ours, created_at FROM policy_snapshots
        WHERE org_id = org AND template_id = template AND created_at <= as_of
        ORDER BY ours, created_at DESC, snapshot_id DESC OFFSET 0) c
    WHERE variants <> '{}' AND c.otherwise ?& variants AND c.otherwise - variants = '{}'::jsonb
    ORDER BY c.ours, c.created_at DESC, c.snapshot_id DESC LIMIT 1
$$;
