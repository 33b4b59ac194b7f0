-- The export of acme (s3://records) in Databricks, by `justai export loader`.
-- Print it anew when the export's place, record, folders or tables change.
-- It remembers which revision of each hour was loaded, deletes what was written anew since, and loads that:
-- run it as often as you like.
-- It looks at all hours there are: an overwrite may reach any of them.
-- STATED, NOT RUN HERE: made from the engine's documentation. Try it beside your own tables first.
--
-- The bucket is an external location of Unity Catalog. It takes SQL scripting (a SQL warehouse, or
-- Databricks Runtime 16.3); on classic compute `justai export loader spark` works too.

CREATE SCHEMA IF NOT EXISTS justai_export;
CREATE TABLE IF NOT EXISTS justai_export.generations (
  `event_timestamp` BIGINT, `user_id` STRING, `tracking_id` STRING, `copy_id` STRING, `template_id` STRING,
  `vars` STRUCT<subject: STRING, preheader: STRING, body: STRING>, `attrs` MAP<STRING, STRING>,
  `event_time` TIMESTAMP, `generation_id` STRING, `variant_name` STRING, `propensity` DOUBLE,
  `snapshot_id` STRING, `control` BOOLEAN, `decision` STRING, `reason` STRING, `outcome` STRING,
  `outcome_reason` STRING
);
-- Where it was made when it had fewer columns:
-- ALTER TABLE justai_export.generations ADD COLUMNS (
--  `event_time` TIMESTAMP, `generation_id` STRING, `variant_name` STRING, `propensity` DOUBLE,
--  `snapshot_id` STRING, `control` BOOLEAN, `decision` STRING, `reason` STRING, `outcome` STRING,
--  `outcome_reason` STRING
-- );
CREATE TABLE IF NOT EXISTS justai_export.variants (
  `copy_id` STRING, `template_id` STRING, `template_name` STRING, `variant_name` STRING, `theme` STRING,
  `status` STRING, `version` INT, `content_sha256` STRING,
  `vars` STRUCT<subject: STRING, preheader: STRING, body: STRING>,
  `versions` ARRAY<STRUCT<version: INT, content_sha256: STRING, created_at: TIMESTAMP>>,
  `created_at` TIMESTAMP, `first_used` DATE, `last_used` DATE
);
CREATE TABLE IF NOT EXISTS justai_export.outcomes (
  `event_timestamp` BIGINT, `generation_id` STRING, `user_id` STRING, `tracking_id` STRING,
  `template_id` STRING, `copy_id` STRING, `control` BOOLEAN, `sends` INT, `sent_at` TIMESTAMP,
  `delivered` BOOLEAN, `opened` BOOLEAN, `clicked` BOOLEAN, `bounced` BOOLEAN, `unsubscribed` BOOLEAN,
  `spam` BOOLEAN, `conversions` INT, `revenue` DOUBLE, `currency` STRING, `decision` STRING, `reason` STRING
);
-- Where it was made when it had fewer columns:
-- ALTER TABLE justai_export.outcomes ADD COLUMNS (
--  `decision` STRING, `reason` STRING
-- );
CREATE TABLE IF NOT EXISTS justai_export.loaded (table_name STRING, hour STRING, revision BIGINT, sha256 STRING);
CREATE OR REPLACE TABLE justai_export.changed (table_name STRING, hour STRING, revision BIGINT, sha256 STRING, path STRING);

-- The hours that were written since they were loaded last.
INSERT INTO justai_export.changed
SELECT said.`table`, ifnull(said.hour, ''), said.revision, ifnull(get(said.files, 0).sha256, ''),
       's3://records/' || get(said.files, 0).key
FROM read_files(
  's3://records/_manifests/',
  format => 'json', multiLine => true,
  schema => '`table` STRING, hour STRING, revision BIGINT, files ARRAY<STRUCT<key: STRING, sha256: STRING>>'
) AS said
LEFT JOIN justai_export.loaded ON loaded.table_name = said.`table` AND loaded.hour = ifnull(said.hour, '')
WHERE said.`table` IN ('generations', 'variants', 'outcomes') AND (loaded.revision IS DISTINCT FROM said.revision
  OR loaded.sha256 IS DISTINCT FROM ifnull(get(said.files, 0).sha256, ''));

-- generations. Several commits, not one: a run that dies between them is mended by the next one. A month's folder is read
-- once, and none where nothing was written.
DELETE FROM justai_export.generations WHERE event_timestamp DIV 3600 IN (
  SELECT unix_timestamp(CAST(hour AS TIMESTAMP)) DIV 3600
  FROM justai_export.changed WHERE table_name = 'generations'
);
BEGIN
  DECLARE folder STRING;
  FOR one AS
    SELECT DISTINCT regexp_replace(path, '[^/]+/[^/]+/[^/]+$', '') AS place
    FROM justai_export.changed WHERE table_name = 'generations' AND path IS NOT NULL
  DO
    SET folder = one.place;
    EXECUTE IMMEDIATE "
INSERT INTO justai_export.generations (
  `event_timestamp`, `user_id`, `tracking_id`, `copy_id`, `template_id`, `vars`, `attrs`, `event_time`,
  `generation_id`, `variant_name`, `propensity`, `snapshot_id`, `control`, `decision`, `reason`, `outcome`,
  `outcome_reason`
)
SELECT
  `event_timestamp`, `user_id`, `tracking_id`, `copy_id`, `template_id`, `vars`, `attrs`, `event_time`,
  `generation_id`, `variant_name`, `propensity`, `snapshot_id`, `control`, `decision`, `reason`, `outcome`,
  `outcome_reason`
FROM read_files(:folder, format => 'parquet', schema => :types)
WHERE _metadata.file_path IN (SELECT path FROM justai_export.changed WHERE table_name = 'generations')
" USING folder AS folder, '`event_timestamp` BIGINT, `user_id` STRING, `tracking_id` STRING, `copy_id` STRING, `template_id` STRING, `vars` STRUCT<subject: STRING, preheader: STRING, body: STRING>, `attrs` MAP<STRING, STRING>, `event_time` TIMESTAMP, `generation_id` STRING, `variant_name` STRING, `propensity` DOUBLE, `snapshot_id` STRING, `control` BOOLEAN, `decision` STRING, `reason` STRING, `outcome` STRING, `outcome_reason` STRING' AS types;
  END FOR;
END;
MERGE INTO justai_export.loaded USING (SELECT * FROM justai_export.changed WHERE table_name = 'generations') AS said
ON loaded.table_name = said.table_name AND loaded.hour = said.hour
WHEN MATCHED THEN UPDATE SET revision = said.revision, sha256 = said.sha256
WHEN NOT MATCHED THEN INSERT (table_name, hour, revision, sha256)
  VALUES (said.table_name, said.hour, said.revision, said.sha256);

-- variants. Several commits, not one: a run that dies between them is mended by the next one. A month's folder is read
-- once, and none where nothing was written.
DELETE FROM justai_export.variants WHERE EXISTS (SELECT 1 FROM justai_export.changed WHERE table_name = 'variants');
BEGIN
  DECLARE folder STRING;
  FOR one AS
    SELECT DISTINCT regexp_replace(path, '[^/]+$', '') AS place
    FROM justai_export.changed WHERE table_name = 'variants' AND path IS NOT NULL
  DO
    SET folder = one.place;
    EXECUTE IMMEDIATE "
INSERT INTO justai_export.variants (
  `copy_id`, `template_id`, `template_name`, `variant_name`, `theme`, `status`, `version`, `content_sha256`,
  `vars`, `versions`, `created_at`, `first_used`, `last_used`
)
SELECT
  `copy_id`, `template_id`, `template_name`, `variant_name`, `theme`, `status`, `version`, `content_sha256`,
  `vars`, `versions`, `created_at`, `first_used`, `last_used`
FROM read_files(:folder, format => 'parquet', schema => :types)
WHERE _metadata.file_path IN (SELECT path FROM justai_export.changed WHERE table_name = 'variants')
" USING folder AS folder, '`copy_id` STRING, `template_id` STRING, `template_name` STRING, `variant_name` STRING, `theme` STRING, `status` STRING, `version` INT, `content_sha256` STRING, `vars` STRUCT<subject: STRING, preheader: STRING, body: STRING>, `versions` ARRAY<STRUCT<version: INT, content_sha256: STRING, created_at: TIMESTAMP>>, `created_at` TIMESTAMP, `first_used` DATE, `last_used` DATE' AS types;
  END FOR;
END;
MERGE INTO justai_export.loaded USING (SELECT * FROM justai_export.changed WHERE table_name = 'variants') AS said
ON loaded.table_name = said.table_name AND loaded.hour = said.hour
WHEN MATCHED THEN UPDATE SET revision = said.revision, sha256 = said.sha256
WHEN NOT MATCHED THEN INSERT (table_name, hour, revision, sha256)
  VALUES (said.table_name, said.hour, said.revision, said.sha256);

-- outcomes. Several commits, not one: a run that dies between them is mended by the next one. A month's folder is read
-- once, and none where nothing was written.
DELETE FROM justai_export.outcomes WHERE event_timestamp DIV 3600 IN (
  SELECT unix_timestamp(CAST(hour AS TIMESTAMP)) DIV 3600
  FROM justai_export.changed WHERE table_name = 'outcomes'
);
BEGIN
  DECLARE folder STRING;
  FOR one AS
    SELECT DISTINCT regexp_replace(path, '[^/]+/[^/]+/[^/]+$', '') AS place
    FROM justai_export.changed WHERE table_name = 'outcomes' AND path IS NOT NULL
  DO
    SET folder = one.place;
    EXECUTE IMMEDIATE "
INSERT INTO justai_export.outcomes (
  `event_timestamp`, `generation_id`, `user_id`, `tracking_id`, `template_id`, `copy_id`, `control`, `sends`,
  `sent_at`, `delivered`, `opened`, `clicked`, `bounced`, `unsubscribed`, `spam`, `conversions`, `revenue`,
  `currency`, `decision`, `reason`
)
SELECT
  `event_timestamp`, `generation_id`, `user_id`, `tracking_id`, `template_id`, `copy_id`, `control`, `sends`,
  `sent_at`, `delivered`, `opened`, `clicked`, `bounced`, `unsubscribed`, `spam`, `conversions`, `revenue`,
  `currency`, `decision`, `reason`
FROM read_files(:folder, format => 'parquet', schema => :types)
WHERE _metadata.file_path IN (SELECT path FROM justai_export.changed WHERE table_name = 'outcomes')
" USING folder AS folder, '`event_timestamp` BIGINT, `generation_id` STRING, `user_id` STRING, `tracking_id` STRING, `template_id` STRING, `copy_id` STRING, `control` BOOLEAN, `sends` INT, `sent_at` TIMESTAMP, `delivered` BOOLEAN, `opened` BOOLEAN, `clicked` BOOLEAN, `bounced` BOOLEAN, `unsubscribed` BOOLEAN, `spam` BOOLEAN, `conversions` INT, `revenue` DOUBLE, `currency` STRING, `decision` STRING, `reason` STRING' AS types;
  END FOR;
END;
MERGE INTO justai_export.loaded USING (SELECT * FROM justai_export.changed WHERE table_name = 'outcomes') AS said
ON loaded.table_name = said.table_name AND loaded.hour = said.hour
WHEN MATCHED THEN UPDATE SET revision = said.revision, sha256 = said.sha256
WHEN NOT MATCHED THEN INSERT (table_name, hour, revision, sha256)
  VALUES (said.table_name, said.hour, said.revision, said.sha256);

SELECT count(*) FROM justai_export.generations;

-- One day again, whatever was loaded, with COPY INTO. It skips names that it knows, even when the object was overwritten:
-- hence the deletion and `force`.
--   DELETE FROM justai_export.generations WHERE event_timestamp >= unix_timestamp(TIMESTAMP '2026-11-01 00:00:00 UTC')
--     AND event_timestamp < unix_timestamp(TIMESTAMP '2026-11-02 00:00:00 UTC');
--   COPY INTO justai_export.generations FROM 's3://records/year=2026/month=11/day=01/' FILEFORMAT = PARQUET
--     FORMAT_OPTIONS ('recursiveFileLookup' = 'true', 'mergeSchema' = 'true') COPY_OPTIONS ('force' = 'true');
-- Auto Loader takes an overwritten object again only with `cloudFiles.allowOverwrites`, and then adds its rows a second
-- time: delete the batch's hours in foreachBatch before you write it. Hours that became empty it does not tell at all.
