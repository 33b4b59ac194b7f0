-- The export of acme (s3://records) in Redshift, by `justai export loader`.
-- Print it anew when the export's place, record, folders or tables change.
-- It remembers which revision of each hour was loaded, deletes what was written anew since, and loads that:
-- run it as often as you like.
-- It looks at all hours there are: an overwrite may reach any of them.
-- STATED, NOT RUN HERE: made from the engine's documentation. Try it beside your own tables first.
--
-- COPY of Parquet goes by the order of columns, wants the bucket in the cluster's region, and reads every object whose
-- name begins as said: so each hour is named. FILLRECORD lets in files of an earlier version, which lack the last columns.
-- When you drop a table, delete its lines in `loaded` too (DELETE FROM justai_export.loaded WHERE table_name = '…'), or
-- nothing is loaded into the new one.

CREATE SCHEMA IF NOT EXISTS justai_export;
CREATE TABLE IF NOT EXISTS justai_export.generations (
  "event_timestamp" BIGINT, "user_id" VARCHAR(65535), "tracking_id" VARCHAR(65535), "copy_id" VARCHAR(65535),
  "template_id" VARCHAR(65535), "vars" SUPER, "attrs" SUPER, "event_time" TIMESTAMP,
  "generation_id" VARCHAR(65535), "variant_name" VARCHAR(65535), "propensity" DOUBLE PRECISION,
  "snapshot_id" VARCHAR(65535), "control" BOOLEAN, "decision" VARCHAR(65535), "reason" VARCHAR(65535),
  "outcome" VARCHAR(65535), "outcome_reason" VARCHAR(65535)
);
-- Where it was made when it had fewer columns, once for each that it lacks, in this order:
-- ALTER TABLE justai_export.generations ADD COLUMN "event_time" TIMESTAMP;
-- ALTER TABLE justai_export.generations ADD COLUMN "generation_id" VARCHAR(65535);
-- ALTER TABLE justai_export.generations ADD COLUMN "variant_name" VARCHAR(65535);
-- ALTER TABLE justai_export.generations ADD COLUMN "propensity" DOUBLE PRECISION;
-- ALTER TABLE justai_export.generations ADD COLUMN "snapshot_id" VARCHAR(65535);
-- ALTER TABLE justai_export.generations ADD COLUMN "control" BOOLEAN;
-- ALTER TABLE justai_export.generations ADD COLUMN "decision" VARCHAR(65535);
-- ALTER TABLE justai_export.generations ADD COLUMN "reason" VARCHAR(65535);
-- ALTER TABLE justai_export.generations ADD COLUMN "outcome" VARCHAR(65535);
-- ALTER TABLE justai_export.generations ADD COLUMN "outcome_reason" VARCHAR(65535);
CREATE TABLE IF NOT EXISTS justai_export.variants (
  "copy_id" VARCHAR(65535), "template_id" VARCHAR(65535), "template_name" VARCHAR(65535),
  "variant_name" VARCHAR(65535), "theme" VARCHAR(65535), "status" VARCHAR(65535), "version" INTEGER,
  "content_sha256" VARCHAR(65535), "vars" SUPER, "versions" SUPER, "created_at" TIMESTAMP, "first_used" DATE,
  "last_used" DATE
);
CREATE TABLE IF NOT EXISTS justai_export.outcomes (
  "event_timestamp" BIGINT, "generation_id" VARCHAR(65535), "user_id" VARCHAR(65535),
  "tracking_id" VARCHAR(65535), "template_id" VARCHAR(65535), "copy_id" VARCHAR(65535), "control" BOOLEAN,
  "sends" INTEGER, "sent_at" TIMESTAMP, "delivered" BOOLEAN, "opened" BOOLEAN, "clicked" BOOLEAN,
  "bounced" BOOLEAN, "unsubscribed" BOOLEAN, "spam" BOOLEAN, "conversions" INTEGER,
  "revenue" DOUBLE PRECISION, "currency" VARCHAR(65535), "decision" VARCHAR(65535), "reason" VARCHAR(65535)
);
-- Where it was made when it had fewer columns, once for each that it lacks, in this order:
-- ALTER TABLE justai_export.outcomes ADD COLUMN "decision" VARCHAR(65535);
-- ALTER TABLE justai_export.outcomes ADD COLUMN "reason" VARCHAR(65535);
CREATE TABLE IF NOT EXISTS justai_export.loaded (table_name VARCHAR(20), hour VARCHAR(20), revision BIGINT, sha256 VARCHAR(64));
CREATE TABLE IF NOT EXISTS justai_export.manifests ("table" VARCHAR(20), hour VARCHAR(20), revision BIGINT, files SUPER);

CREATE OR REPLACE PROCEDURE justai_export.load_changed(iam_role VARCHAR(2048)) AS $$
DECLARE
  one RECORD;
BEGIN
  -- Each hour that was written since it was loaded last: delete its rows, then load its object. All in one transaction.
  FOR one IN
    SELECT said.table_name, said.hour, said.revision, said.sha256, said.key
    FROM (
      SELECT "table" AS table_name, COALESCE(hour, '') AS hour, revision,
             COALESCE(files[0].sha256::VARCHAR, '') AS sha256, files[0].key::VARCHAR AS key
      FROM justai_export.manifests
    ) said
    LEFT JOIN justai_export.loaded ON loaded.table_name = said.table_name AND loaded.hour = said.hour
    WHERE said.table_name IN ('generations', 'variants', 'outcomes')
      AND (loaded.revision IS NULL OR loaded.revision <> said.revision OR loaded.sha256 <> said.sha256)
  LOOP
    IF one.hour = '' THEN
      EXECUTE 'DELETE FROM justai_export.' || one.table_name;
    ELSE
      EXECUTE 'DELETE FROM justai_export.' || one.table_name || ' WHERE event_timestamp >= EXTRACT(epoch FROM '
        || quote_literal(one.hour) || '::TIMESTAMPTZ) AND event_timestamp < EXTRACT(epoch FROM '
        || quote_literal(one.hour) || '::TIMESTAMPTZ) + 3600';
    END IF;
    IF one.key IS NOT NULL THEN
      EXECUTE 'COPY justai_export.' || one.table_name || ' FROM ' || quote_literal('s3://records/' || one.key)
        || ' IAM_ROLE ' || quote_literal(iam_role) || ' FORMAT AS PARQUET SERIALIZETOJSON FILLRECORD';
    END IF;
    DELETE FROM justai_export.loaded WHERE table_name = one.table_name AND hour = one.hour;
    INSERT INTO justai_export.loaded VALUES (one.table_name, one.hour, one.revision, one.sha256);
  END LOOP;
END;
$$ LANGUAGE plpgsql;

-- What the export says of each hour. The role may read the bucket and is attached to the cluster.
DELETE FROM justai_export.manifests;
COPY justai_export.manifests FROM 's3://records/_manifests/'
  IAM_ROLE 'arn:aws:iam::your-account:role/your-role' FORMAT AS JSON 'auto';
CALL justai_export.load_changed('arn:aws:iam::your-account:role/your-role');

SELECT count(*) FROM justai_export.generations;
