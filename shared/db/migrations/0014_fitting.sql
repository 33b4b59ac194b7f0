-- Which templates have feedback that no snapshot knows yet, and who fits them.

-- Raised in the transaction that rebuilds rollups, whoever does it; read by the ranker every few seconds.
CREATE TABLE policy_feedback (
    org_id      uuid NOT NULL,
    template_id text NOT NULL,
    revision    bigint NOT NULL,
    PRIMARY KEY (org_id, template_id)
) WITH (fillfactor = 50);
SELECT secure_table('policy_feedback');

CREATE FUNCTION mark_policy_feedback() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- In one order everywhere, so that two transactions cannot wait for each other in a ring.
    INSERT INTO policy_feedback AS f (org_id, template_id, revision)
    SELECT DISTINCT org_id, template_id, 1 FROM changed WHERE copy_id IS NOT NULL ORDER BY 1, 2
    ON CONFLICT (org_id, template_id) DO UPDATE SET revision = f.revision + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER rollups_inserted AFTER INSERT ON rollups
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_policy_feedback();
CREATE TRIGGER rollups_deleted AFTER DELETE ON rollups
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_policy_feedback();

-- The last fit of each template and the lease of the one in hand.
CREATE TABLE policy_fits (
    org_id      uuid NOT NULL,
    template_id text NOT NULL,
    epoch       bigint NOT NULL,                           -- raised by every claim; only the newest may store
    lease_until timestamptz,                               -- until then nobody else claims it; after a failure: a pause
    claimed_sign text,                                     -- of what the fit in hand sees
    sign        text,                                      -- of feedback, policy and variants that the last fit saw
    fitted_at   timestamptz,
    next_fit_at timestamptz,                               -- then also without a change: young sends have ripened
    snapshot_id uuid,                                      -- what the last fit arrived at
    facts_hash  text,
    error       text,                                      -- of the last try; null after one that did
    PRIMARY KEY (org_id, template_id)
);
SELECT secure_table('policy_fits');
