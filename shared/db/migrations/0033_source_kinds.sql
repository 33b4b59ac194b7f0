-- Where event files may come from besides an SFTP server: a folder that the operator lends, a prefix in a bucket,
-- windows of Klaviyo's Events API. And what tells versions of a file apart, and how far a file in hand is.

ALTER TABLE sources
    DROP CONSTRAINT sources_kind_check,
    DROP CONSTRAINT sources_host_check,
    DROP CONSTRAINT sources_username_check,
    DROP CONSTRAINT sources_host_key_check,
    ADD COLUMN bucket text NOT NULL DEFAULT '',
    ADD COLUMN region text NOT NULL DEFAULT '',
    ADD COLUMN endpoint_url text NOT NULL DEFAULT '',   -- empty: Amazon's own of the region
    ADD COLUMN access_key text NOT NULL DEFAULT '',     -- its secret is in sealed_key; empty: the service's own role
    ADD COLUMN reread_at timestamptz,                   -- asked then: the next listing queues what is settled once more
    ADD COLUMN reread_files int,                        -- so many were queued by the last one that was asked to
    ADD COLUMN reread_bytes bigint,
    ADD COLUMN removed_at timestamptz,                  -- not read or shown any more; events still tell their file by it
    ALTER COLUMN host SET DEFAULT '',
    ALTER COLUMN username SET DEFAULT '',
    ALTER COLUMN host_key SET DEFAULT '',
    ALTER COLUMN sealed_key SET DEFAULT '',
    ADD CONSTRAINT sources_kind CHECK (kind IN ('sftp', 'folder', 's3', 'klaviyo')),
    -- What a kind has no use for is empty, what it needs is not; a secret may come later.
    ADD CONSTRAINT sources_sftp CHECK (CASE WHEN kind = 'sftp'
        THEN host <> '' AND username <> '' AND host_key <> ''
        ELSE host = '' AND username = '' AND host_key = '' END),
    ADD CONSTRAINT sources_s3 CHECK (CASE WHEN kind = 's3'
        THEN bucket <> '' AND region <> '' AND (access_key <> '' OR sealed_key = '')
        ELSE bucket = '' AND region = '' AND endpoint_url = '' AND access_key = '' END);

DROP TRIGGER sources_changed ON sources;
CREATE TRIGGER sources_changed
    BEFORE UPDATE OF host, port, username, path, pattern, host_key, sealed_key, enabled, bucket, region, endpoint_url,
        access_key ON sources
    FOR EACH ROW EXECUTE FUNCTION give_source_another_try();

-- Many a server's clock knows whole seconds: where a kind has something else that tells versions apart (S3: the ETag),
-- that counts too. Whoever loads a file writes every second or so how far it is.
ALTER TABLE ingest_files
    ADD COLUMN tag text NOT NULL DEFAULT '',
    ADD COLUMN got_bytes bigint NOT NULL DEFAULT 0,     -- fetched in this attempt
    ADD COLUMN got_rows bigint NOT NULL DEFAULT 0,      -- then staged; 0: it is still being fetched
    ADD COLUMN got_since timestamptz,                   -- when fetching began, then when staging did
    ADD COLUMN got_at timestamptz,                      -- when this was written
    DROP CONSTRAINT ingest_files_source_id_path_size_mtime_key,
    ADD CONSTRAINT ingest_files_version UNIQUE (source_id, path, size, mtime, tag);
