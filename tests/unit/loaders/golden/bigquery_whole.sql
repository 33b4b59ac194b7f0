-- The export of acme (s3://records) in BigQuery, by `justai export loader`.
-- Print it anew when the export's place, record, folders or tables change.
-- It remembers which revision of each hour was loaded, deletes what was written anew since, and loads that:
-- run it as often as you like.
-- It looks at all hours there are: an overwrite may reach any of them.
-- STATED, NOT RUN HERE: made from the engine's documentation. Try it beside your own tables first.
--
-- BigQuery reads S3 through a connection (BigQuery Omni), in those regions of AWS that have it; name yours `justai`.
-- Elsewhere have the Storage Transfer Service copy the prefix to Cloud Storage, deletions too, and say gs:// here without
-- WITH CONNECTION; or let the export go to Cloud Storage itself (endpoint https://storage.googleapis.com and an HMAC key),
-- and print this anew.

CREATE SCHEMA IF NOT EXISTS justai_export;
CREATE TABLE IF NOT EXISTS justai_export.generations (
  `event_timestamp` INT64, `user_id` STRING, `tracking_id` STRING, `copy_id` STRING, `template_id` STRING,
  `vars` STRUCT<subject STRING, preheader STRING, body STRING>,
  `attrs` STRUCT<key_value ARRAY<STRUCT<key STRING, value STRING>>>, `event_time` TIMESTAMP,
  `generation_id` STRING, `variant_name` STRING, `propensity` FLOAT64, `snapshot_id` STRING, `control` BOOL,
  `decision` STRING, `reason` STRING, `outcome` STRING, `outcome_reason` STRING
)
PARTITION BY RANGE_BUCKET(event_timestamp, GENERATE_ARRAY(1704067200, 2019427200, 86400));
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `event_time` TIMESTAMP;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `generation_id` STRING;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `variant_name` STRING;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `propensity` FLOAT64;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `snapshot_id` STRING;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `control` BOOL;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `decision` STRING;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `reason` STRING;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `outcome` STRING;
ALTER TABLE justai_export.generations ADD COLUMN IF NOT EXISTS `outcome_reason` STRING;
CREATE TABLE IF NOT EXISTS justai_export.variants (
  `copy_id` STRING, `template_id` STRING, `template_name` STRING, `variant_name` STRING, `theme` STRING,
  `status` STRING, `version` INT64, `content_sha256` STRING,
  `vars` STRUCT<subject STRING, preheader STRING, body STRING>,
  `versions` ARRAY<STRUCT<version INT64, content_sha256 STRING, created_at TIMESTAMP>>,
  `created_at` TIMESTAMP, `first_used` DATE, `last_used` DATE
);
CREATE TABLE IF NOT EXISTS justai_export.outcomes (
  `event_timestamp` INT64, `generation_id` STRING, `user_id` STRING, `tracking_id` STRING,
  `template_id` STRING, `copy_id` STRING, `control` BOOL, `sends` INT64, `sent_at` TIMESTAMP,
  `delivered` BOOL, `opened` BOOL, `clicked` BOOL, `bounced` BOOL, `unsubscribed` BOOL, `spam` BOOL,
  `conversions` INT64, `revenue` FLOAT64, `currency` STRING, `decision` STRING, `reason` STRING
)
PARTITION BY RANGE_BUCKET(event_timestamp, GENERATE_ARRAY(1704067200, 2019427200, 86400));
ALTER TABLE justai_export.outcomes ADD COLUMN IF NOT EXISTS `decision` STRING;
ALTER TABLE justai_export.outcomes ADD COLUMN IF NOT EXISTS `reason` STRING;
CREATE TABLE IF NOT EXISTS justai_export.loaded (table_name STRING, hour STRING, revision INT64, sha256 STRING);

-- What the export says of each hour.
LOAD DATA OVERWRITE justai_export.manifests (
  `table` STRING, hour STRING, revision INT64, files ARRAY<STRUCT<key STRING, sha256 STRING>>
)
FROM FILES (format = 'NEWLINE_DELIMITED_JSON', ignore_unknown_values = TRUE, uris = [
  's3://records/_manifests/*'
])
WITH CONNECTION `aws-eu-west-1.justai`;

-- generations: what was written since it was loaded last.
CREATE OR REPLACE TABLE justai_export.changed AS
SELECT said.hour, said.revision, said.sha256, said.key
FROM (
  SELECT `table` AS table_name, IFNULL(hour, '') AS hour, revision,
         IFNULL(files[SAFE_OFFSET(0)].sha256, '') AS sha256, files[SAFE_OFFSET(0)].key AS key
  FROM justai_export.manifests
) AS said
LEFT JOIN justai_export.loaded ON loaded.table_name = said.table_name AND loaded.hour = said.hour
WHERE said.table_name = 'generations'
  AND (loaded.revision IS DISTINCT FROM said.revision OR loaded.sha256 IS DISTINCT FROM said.sha256);
-- A load is no part of a transaction, so the objects arrive beside the table first; a month at a time, for a load takes
-- 10,000 of them.
CREATE OR REPLACE TABLE justai_export.arrived LIKE justai_export.generations;
FOR month IN (SELECT DISTINCT SUBSTR(hour, 1, 7) AS name FROM justai_export.changed WHERE key IS NOT NULL) DO
  EXECUTE IMMEDIATE FORMAT("""
    LOAD DATA INTO justai_export.arrived
    FROM FILES (format = 'PARQUET', enable_list_inference = TRUE, uris = %T)
    WITH CONNECTION `aws-eu-west-1.justai`
  """, (
    SELECT ARRAY_AGG(CONCAT('s3://records/', key)) FROM justai_export.changed
    WHERE key IS NOT NULL AND SUBSTR(hour, 1, 7) = month.name
  ));
END FOR;
BEGIN TRANSACTION;
DELETE FROM justai_export.generations WHERE DIV(event_timestamp, 3600) IN (
  SELECT DIV(UNIX_SECONDS(TIMESTAMP(hour)), 3600) FROM justai_export.changed
);
INSERT INTO justai_export.generations (
  `event_timestamp`, `user_id`, `tracking_id`, `copy_id`, `template_id`, `vars`, `attrs`, `event_time`,
  `generation_id`, `variant_name`, `propensity`, `snapshot_id`, `control`, `decision`, `reason`, `outcome`,
  `outcome_reason`
)
SELECT
  `event_timestamp`, `user_id`, `tracking_id`, `copy_id`, `template_id`, `vars`, `attrs`, `event_time`,
  `generation_id`, `variant_name`, `propensity`, `snapshot_id`, `control`, `decision`, `reason`, `outcome`,
  `outcome_reason`
FROM justai_export.arrived;
DELETE FROM justai_export.loaded WHERE table_name = 'generations' AND hour IN (SELECT hour FROM justai_export.changed);
INSERT INTO justai_export.loaded SELECT 'generations', hour, revision, sha256 FROM justai_export.changed;
COMMIT TRANSACTION;

-- variants: what was written since it was loaded last.
CREATE OR REPLACE TABLE justai_export.changed AS
SELECT said.hour, said.revision, said.sha256, said.key
FROM (
  SELECT `table` AS table_name, IFNULL(hour, '') AS hour, revision,
         IFNULL(files[SAFE_OFFSET(0)].sha256, '') AS sha256, files[SAFE_OFFSET(0)].key AS key
  FROM justai_export.manifests
) AS said
LEFT JOIN justai_export.loaded ON loaded.table_name = said.table_name AND loaded.hour = said.hour
WHERE said.table_name = 'variants'
  AND (loaded.revision IS DISTINCT FROM said.revision OR loaded.sha256 IS DISTINCT FROM said.sha256);
-- A load is no part of a transaction, so the objects arrive beside the table first; a month at a time, for a load takes
-- 10,000 of them.
CREATE OR REPLACE TABLE justai_export.arrived LIKE justai_export.variants;
FOR month IN (SELECT DISTINCT SUBSTR(hour, 1, 7) AS name FROM justai_export.changed WHERE key IS NOT NULL) DO
  EXECUTE IMMEDIATE FORMAT("""
    LOAD DATA INTO justai_export.arrived
    FROM FILES (format = 'PARQUET', enable_list_inference = TRUE, uris = %T)
    WITH CONNECTION `aws-eu-west-1.justai`
  """, (
    SELECT ARRAY_AGG(CONCAT('s3://records/', key)) FROM justai_export.changed
    WHERE key IS NOT NULL AND SUBSTR(hour, 1, 7) = month.name
  ));
END FOR;
BEGIN TRANSACTION;
DELETE FROM justai_export.variants WHERE EXISTS (SELECT 1 FROM justai_export.changed);
INSERT INTO justai_export.variants (
  `copy_id`, `template_id`, `template_name`, `variant_name`, `theme`, `status`, `version`, `content_sha256`,
  `vars`, `versions`, `created_at`, `first_used`, `last_used`
)
SELECT
  `copy_id`, `template_id`, `template_name`, `variant_name`, `theme`, `status`, `version`, `content_sha256`,
  `vars`, `versions`, `created_at`, `first_used`, `last_used`
FROM justai_export.arrived;
DELETE FROM justai_export.loaded WHERE table_name = 'variants' AND hour IN (SELECT hour FROM justai_export.changed);
INSERT INTO justai_export.loaded SELECT 'variants', hour, revision, sha256 FROM justai_export.changed;
COMMIT TRANSACTION;

-- outcomes: what was written since it was loaded last.
CREATE OR REPLACE TABLE justai_export.changed AS
SELECT said.hour, said.revision, said.sha256, said.key
FROM (
  SELECT `table` AS table_name, IFNULL(hour, '') AS hour, revision,
         IFNULL(files[SAFE_OFFSET(0)].sha256, '') AS sha256, files[SAFE_OFFSET(0)].key AS key
  FROM justai_export.manifests
) AS said
LEFT JOIN justai_export.loaded ON loaded.table_name = said.table_name AND loaded.hour = said.hour
WHERE said.table_name = 'outcomes'
  AND (loaded.revision IS DISTINCT FROM said.revision OR loaded.sha256 IS DISTINCT FROM said.sha256);
-- A load is no part of a transaction, so the objects arrive beside the table first; a month at a time, for a load takes
-- 10,000 of them.
CREATE OR REPLACE TABLE justai_export.arrived LIKE justai_export.outcomes;
FOR month IN (SELECT DISTINCT SUBSTR(hour, 1, 7) AS name FROM justai_export.changed WHERE key IS NOT NULL) DO
  EXECUTE IMMEDIATE FORMAT("""
    LOAD DATA INTO justai_export.arrived
    FROM FILES (format = 'PARQUET', enable_list_inference = TRUE, uris = %T)
    WITH CONNECTION `aws-eu-west-1.justai`
  """, (
    SELECT ARRAY_AGG(CONCAT('s3://records/', key)) FROM justai_export.changed
    WHERE key IS NOT NULL AND SUBSTR(hour, 1, 7) = month.name
  ));
END FOR;
BEGIN TRANSACTION;
DELETE FROM justai_export.outcomes WHERE DIV(event_timestamp, 3600) IN (
  SELECT DIV(UNIX_SECONDS(TIMESTAMP(hour)), 3600) FROM justai_export.changed
);
INSERT INTO justai_export.outcomes (
  `event_timestamp`, `generation_id`, `user_id`, `tracking_id`, `template_id`, `copy_id`, `control`, `sends`,
  `sent_at`, `delivered`, `opened`, `clicked`, `bounced`, `unsubscribed`, `spam`, `conversions`, `revenue`,
  `currency`, `decision`, `reason`
)
SELECT
  `event_timestamp`, `generation_id`, `user_id`, `tracking_id`, `template_id`, `copy_id`, `control`, `sends`,
  `sent_at`, `delivered`, `opened`, `clicked`, `bounced`, `unsubscribed`, `spam`, `conversions`, `revenue`,
  `currency`, `decision`, `reason`
FROM justai_export.arrived;
DELETE FROM justai_export.loaded WHERE table_name = 'outcomes' AND hour IN (SELECT hour FROM justai_export.changed);
INSERT INTO justai_export.loaded SELECT 'outcomes', hour, revision, sha256 FROM justai_export.changed;
COMMIT TRANSACTION;

SELECT COUNT(*) FROM justai_export.generations;
