-- Exports into buckets of others: as whom, whose bucket it must be, and how objects are encrypted there. And a switch.

-- What a customer's role demands of us (sts:ExternalId). Ours to choose, one per org: with an id that customers choose,
-- one of them could name another one's role.
ALTER TABLE orgs ADD COLUMN export_external_id text NOT NULL DEFAULT 'justai-' || gen_random_uuid();

CREATE FUNCTION keep_external_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the external id of an org never changes' USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER orgs_keep_external_id BEFORE UPDATE OF export_external_id ON orgs FOR EACH ROW
    WHEN (OLD.export_external_id IS DISTINCT FROM NEW.export_external_id) EXECUTE FUNCTION keep_external_id();

COMMENT ON COLUMN export_targets.external_id IS
    'chosen by the customer before 0041, and kept while the role stays; null: orgs.export_external_id';
COMMENT ON COLUMN export_targets.enabled IS 'false: nothing is written; what becomes due waits in the ledger';

ALTER TABLE export_targets
    DROP CONSTRAINT export_targets_bucket_check,
    ADD COLUMN bucket_owner text CHECK (bucket_owner ~ '^[0-9]{12}$'),  -- an AWS account; null: the role's, if any
    ADD COLUMN encryption   text NOT NULL DEFAULT 'bucket' CHECK (encryption IN ('bucket', 's3', 'kms')),
    ADD COLUMN kms_key_id   text CHECK (kms_key_id <> ''),
    ADD COLUMN switched_at  timestamptz,                                -- when `enabled` changed last
    ADD CONSTRAINT export_targets_key_check CHECK ((encryption = 'kms') = (kms_key_id IS NOT NULL)),
    -- Without a bucket: the folder of the installation, an org's own below it.
    ADD CONSTRAINT export_targets_folder_check CHECK (
        bucket <> '' OR (prefix = '' AND encryption = 'bucket'
            AND num_nonnulls(endpoint_url, access_key, role_arn, external_id, bucket_owner) = 0));
DROP INDEX export_targets_place;
CREATE UNIQUE INDEX export_targets_place ON export_targets (bucket, prefix, coalesce(endpoint_url, ''))
    WHERE bucket <> '';
