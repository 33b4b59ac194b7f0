-- The export of acme (s3://records/jai) in BigQuery, by `justai export loader`.
-- Print it anew when the export's place, record, folders or tables change.
-- It remembers which revision of each hour was loaded, deletes what was written anew since, and loads that:
-- run it as often as you like.
-- It looks at the hours of 2026-11 alone, for ever. What is exported or overwritten in another month, deleted
-- persons too, does not arrive: print it without --month for what is run by the clock.
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
  `attrs` STRUCT<key_value ARRAY<STRUCT<key STRING, value STRING>>>
)
PARTITION BY RANGE_BUCKET(event_timestamp, GENERATE_ARRAY(1704067200, 2019427200, 86400));
CREATE TABLE IF NOT EXISTS justai_export.loaded (table_name STRING, hour STRING, revision INT64, sha256 STRING);

-- What the export says of each hour.
LOAD DATA OVERWRITE justai_export.manifests (
  `table` STRING, hour STRING, revision INT64, files ARRAY<STRUCT<key STRING, sha256 STRING>>
)
FROM FILES (format = 'NEWLINE_DELIMITED_JSON', ignore_unknown_values = TRUE, uris = [
  's3://records/jai/_manifests/2026/11/*'
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
  `event_timestamp`, `user_id`, `tracking_id`, `copy_id`, `template_id`, `vars`, `attrs`
)
SELECT
  `event_timestamp`, `user_id`, `tracking_id`, `copy_id`, `template_id`, `vars`, `attrs`
FROM justai_export.arrived;
DELETE FROM justai_export.loaded WHERE table_name = 'generations' AND hour IN (SELECT hour FROM justai_export.changed);
INSERT INTO justai_export.loaded SELECT 'generations', hour, revision, sha256 FROM justai_export.changed;
COMMIT TRANSACTION;

SELECT COUNT(*) FROM justai_export.generations;
