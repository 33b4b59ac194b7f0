-- What the ranker is told of a template, and what an audit needs of a snapshot (ADR 0012).
ALTER TABLE templates
    ADD COLUMN policy jsonb NOT NULL DEFAULT '{}'          -- shared/schemas/policy.py; what is not there has its default
    CHECK (jsonb_typeof(policy) = 'object');

-- `cells` may also be {"<cell>": [p, …]}, in the order of the copy ids of `otherwise`, sorted: 5,000 cells of 50
-- variants are 2 MB so, and 12 MB with names. All of these are null in a row that the generator made.
ALTER TABLE policy_snapshots
    ADD COLUMN fitted_until timestamptz,                   -- the facts' moment: what was sent and clicked until then
    ADD COLUMN settings     jsonb,                         -- the policy as it was, and the variants with their themes
    ADD COLUMN facts_hash   text,                          -- sha256 of the facts
    ADD COLUMN facts        bytea,                         -- the facts themselves, zstd: a rebuild needs nothing else …
    ADD COLUMN previous_id  uuid,                          -- … but the snapshot that the change was measured from
    ADD COLUMN diagnostics  jsonb;                         -- sends, clicks, variances of the groups; for people
CREATE INDEX policy_snapshots_by_time ON policy_snapshots (org_id, template_id, created_at DESC);
