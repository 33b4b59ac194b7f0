-- The export of acme (s3://records) in Snowflake, by `justai export loader`.
-- Print it anew when the export's place, record, folders or tables change.
-- It remembers which revision of each hour was loaded, deletes what was written anew since, and loads that:
-- run it as often as you like.
-- It looks at all hours there are: an overwrite may reach any of them.
-- STATED, NOT RUN HERE: made from the engine's documentation. Try it beside your own tables first.

CREATE SCHEMA IF NOT EXISTS justai_export;
USE SCHEMA justai_export;
-- By an account's administrator, once and whenever the place changes; leave both out of what is run by the clock. DESC
-- INTEGRATION justai_s3 says whom the role has to trust. SET replaces the list: name all places it is to read.
CREATE STORAGE INTEGRATION IF NOT EXISTS justai_s3
  TYPE = EXTERNAL_STAGE STORAGE_PROVIDER = 'S3' ENABLED = TRUE
  STORAGE_AWS_ROLE_ARN = 'arn:aws:iam::your-account:role/your-role'
  STORAGE_ALLOWED_LOCATIONS = ('s3://records/');
ALTER STORAGE INTEGRATION justai_s3 SET STORAGE_ALLOWED_LOCATIONS = ('s3://records/');
CREATE OR REPLACE STAGE justai_export URL = 's3://records/' STORAGE_INTEGRATION = justai_s3;
CREATE FILE FORMAT IF NOT EXISTS justai_parquet TYPE = PARQUET USE_LOGICAL_TYPE = TRUE;
CREATE FILE FORMAT IF NOT EXISTS justai_json TYPE = JSON;
CREATE TABLE IF NOT EXISTS generations (
  event_timestamp NUMBER(38, 0), user_id VARCHAR, tracking_id VARCHAR, copy_id VARCHAR, template_id VARCHAR,
  vars VARIANT, attrs VARIANT, event_time TIMESTAMP_TZ, generation_id VARCHAR, variant_name VARCHAR,
  propensity FLOAT, snapshot_id VARCHAR, control BOOLEAN, decision VARCHAR, reason VARCHAR, outcome VARCHAR,
  outcome_reason VARCHAR
);
ALTER TABLE generations ADD COLUMN IF NOT EXISTS event_time TIMESTAMP_TZ;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS generation_id VARCHAR;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS variant_name VARCHAR;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS propensity FLOAT;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS snapshot_id VARCHAR;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS control BOOLEAN;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS decision VARCHAR;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS reason VARCHAR;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS outcome VARCHAR;
ALTER TABLE generations ADD COLUMN IF NOT EXISTS outcome_reason VARCHAR;
CREATE TABLE IF NOT EXISTS variants (
  copy_id VARCHAR, template_id VARCHAR, template_name VARCHAR, variant_name VARCHAR, theme VARCHAR,
  status VARCHAR, version NUMBER(38, 0), content_sha256 VARCHAR, vars VARIANT, versions VARIANT,
  created_at TIMESTAMP_TZ, first_used DATE, last_used DATE
);
CREATE TABLE IF NOT EXISTS outcomes (
  event_timestamp NUMBER(38, 0), generation_id VARCHAR, user_id VARCHAR, tracking_id VARCHAR,
  template_id VARCHAR, copy_id VARCHAR, control BOOLEAN, sends NUMBER(38, 0), sent_at TIMESTAMP_TZ,
  delivered BOOLEAN, opened BOOLEAN, clicked BOOLEAN, bounced BOOLEAN, unsubscribed BOOLEAN, spam BOOLEAN,
  conversions NUMBER(38, 0), revenue FLOAT, currency VARCHAR, decision VARCHAR, reason VARCHAR
);
ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS decision VARCHAR;
ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS reason VARCHAR;
CREATE TABLE IF NOT EXISTS loaded (table_name VARCHAR, hour VARCHAR, revision NUMBER, sha256 VARCHAR);

-- The hours that were written since they were loaded last.
CREATE OR REPLACE TEMPORARY TABLE changed AS
SELECT said.table_name, said.hour, said.revision, said.sha256, said.key
FROM (
  SELECT $1['table']::VARCHAR AS table_name, COALESCE($1:hour::VARCHAR, '') AS hour, $1:revision::NUMBER AS revision,
         COALESCE($1:files[0]:sha256::VARCHAR, '') AS sha256,
         SUBSTR($1:files[0]:key::VARCHAR, 1) AS key
  FROM @justai_export/_manifests/ (FILE_FORMAT => justai_json)
  WHERE $1['table']::VARCHAR IN ('generations', 'variants', 'outcomes')
) said
LEFT JOIN loaded ON loaded.table_name = said.table_name AND loaded.hour = said.hour
WHERE loaded.revision IS DISTINCT FROM said.revision OR loaded.sha256 IS DISTINCT FROM said.sha256;

-- Each of them: delete its rows, then load its object, in one transaction. COPY remembers the names of files for 64 days
-- and skips them or loads them twice; FORCE loads what is named, and the deletion makes that right.
EXECUTE IMMEDIATE $$
DECLARE
  hours RESULTSET DEFAULT (SELECT table_name, hour, revision, sha256, key FROM changed);
BEGIN
  FOR one IN hours DO
    LET name VARCHAR := one.table_name;
    LET hour VARCHAR := one.hour;
    LET revision NUMBER := one.revision;
    LET sha256 VARCHAR := one.sha256;
    LET file VARCHAR := one.key;
    BEGIN TRANSACTION;
    IF (hour = '') THEN
      DELETE FROM variants;
    ELSE
      EXECUTE IMMEDIATE 'DELETE FROM ' || name || ' WHERE event_timestamp >= DATE_PART(epoch_second, ''' || hour ||
        '''::TIMESTAMP_TZ) AND event_timestamp < DATE_PART(epoch_second, ''' || hour || '''::TIMESTAMP_TZ) + 3600';
    END IF;
    IF (file IS NOT NULL) THEN
      EXECUTE IMMEDIATE 'COPY INTO ' || name || ' FROM @justai_export/ FILES = (''' || REPLACE(file, '''', '''''') ||
        ''') FILE_FORMAT = (FORMAT_NAME = justai_parquet) MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE FORCE = TRUE';
    END IF;
    DELETE FROM loaded WHERE table_name = :name AND hour = :hour;
    INSERT INTO loaded VALUES (:name, :hour, :revision, :sha256);
    COMMIT;
  END FOR;
END;
$$;

SELECT count(*) FROM generations;
