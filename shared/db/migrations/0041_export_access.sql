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

-- No org's folder lies in another one's. A policy of a bucket lets us in for a prefix, whoever of our orgs asks: without
-- this, one of them could name another one's bucket and a folder below theirs. As a constraint, for what an org may see
-- of others is nothing. The range of keys that begin with the folder: of two of them, one holds the other or neither.
-- Endpoints of AWS are one place, however they are written. Targets from before have none until they move.
CREATE TYPE export_keys AS RANGE (subtype = text, collation = "C");
CREATE FUNCTION export_place(bucket text, prefix text, endpoint_url text) RETURNS export_keys
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN bucket <> '' THEN export_keys(folder || '/', folder || '0') END  -- 0 comes after /
    FROM (SELECT CASE WHEN endpoint_url IS NULL OR endpoint_url ~* '^https?://([^/]*\.)?amazonaws\.com(\.cn)?(:\d+)?/*$'
                 THEN 'aws' ELSE rtrim(lower(endpoint_url), '/') END
                 || ' ' || bucket || CASE WHEN prefix <> '' THEN '/' || prefix ELSE '' END AS folder) one
$$;
ALTER TABLE export_targets ADD COLUMN place export_keys, ADD EXCLUDE USING gist (place WITH &&);

CREATE FUNCTION place_export() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.place := export_place(NEW.bucket, NEW.prefix, NEW.endpoint_url);
    RETURN NEW;
END
$$;
CREATE TRIGGER export_targets_placed BEFORE INSERT ON export_targets FOR EACH ROW EXECUTE FUNCTION place_export();
CREATE TRIGGER export_targets_moved BEFORE UPDATE ON export_targets FOR EACH ROW
    WHEN ((OLD.bucket, OLD.prefix, OLD.endpoint_url) IS DISTINCT FROM (NEW.bucket, NEW.prefix, NEW.endpoint_url))
    EXECUTE FUNCTION place_export();
