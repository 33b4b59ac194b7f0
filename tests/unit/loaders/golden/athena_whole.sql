-- The export of acme (s3://records) in Athena, by `justai export loader`.
-- Print it anew when the export's place, record, folders or tables change.
-- STATED, NOT RUN HERE: made from the engine's documentation. Try it beside your own tables first.
--
-- Nothing has to be loaded: a query reads what lies in the bucket, so an overwritten hour counts at once. Give the hours
-- in WHERE, for the projection makes one place of each hour between its bounds. The tables hold no data, only the place
-- and the columns, so they are dropped and made as these are now.

CREATE DATABASE IF NOT EXISTS justai_export;

DROP TABLE IF EXISTS justai_export.generations;
CREATE EXTERNAL TABLE justai_export.generations (
  `event_timestamp` bigint, `user_id` string, `tracking_id` string, `copy_id` string, `template_id` string,
  `vars` struct<subject:string,preheader:string,body:string>, `attrs` map<string,string>,
  `event_time` timestamp, `generation_id` string, `variant_name` string, `propensity` double,
  `snapshot_id` string, `control` boolean, `decision` string, `reason` string, `outcome` string,
  `outcome_reason` string
)
PARTITIONED BY (`year` int, `month` int, `day` int, `hour` int)
STORED AS PARQUET
LOCATION 's3://records/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.year.type' = 'integer',
  'projection.year.range' = '2024,2043',
  'projection.month.type' = 'integer',
  'projection.month.range' = '1,12',
  'projection.month.digits' = '2',
  'projection.day.type' = 'integer',
  'projection.day.range' = '1,31',
  'projection.day.digits' = '2',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://records/year=${year}/month=${month}/day=${day}/hour=${hour}/'
);

DROP TABLE IF EXISTS justai_export.variants;
CREATE EXTERNAL TABLE justai_export.variants (
  `copy_id` string, `template_id` string, `template_name` string, `variant_name` string, `theme` string,
  `status` string, `version` int, `content_sha256` string,
  `vars` struct<subject:string,preheader:string,body:string>,
  `versions` array<struct<version:int,content_sha256:string,created_at:timestamp>>, `created_at` timestamp,
  `first_used` date, `last_used` date
)
STORED AS PARQUET
LOCATION 's3://records/_tables/variants/';

DROP TABLE IF EXISTS justai_export.outcomes;
CREATE EXTERNAL TABLE justai_export.outcomes (
  `event_timestamp` bigint, `generation_id` string, `user_id` string, `tracking_id` string,
  `template_id` string, `copy_id` string, `control` boolean, `sends` int, `sent_at` timestamp,
  `delivered` boolean, `opened` boolean, `clicked` boolean, `bounced` boolean, `unsubscribed` boolean,
  `spam` boolean, `conversions` int, `revenue` double, `currency` string, `decision` string, `reason` string
)
PARTITIONED BY (`year` int, `month` int, `day` int, `hour` int)
STORED AS PARQUET
LOCATION 's3://records/_tables/outcomes/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.year.type' = 'integer',
  'projection.year.range' = '2024,2043',
  'projection.month.type' = 'integer',
  'projection.month.range' = '1,12',
  'projection.month.digits' = '2',
  'projection.day.type' = 'integer',
  'projection.day.range' = '1,31',
  'projection.day.digits' = '2',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://records/_tables/outcomes/year=${year}/month=${month}/day=${day}/hour=${hour}/'
);

-- What the export says of each hour: none, and it is not exported yet. From here you know which hours changed.
DROP TABLE IF EXISTS justai_export.manifests;
CREATE EXTERNAL TABLE justai_export.manifests (
  `table` string, hour string, revision bigint, `rows` bigint,
  files array<struct<key:string,`rows`:bigint,bytes:bigint,sha256:string>>
)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://records/_manifests/';

-- The month: these two are equal when it is complete.
SELECT count(*) FROM justai_export.generations WHERE year = 2026 AND month = 11;
SELECT sum("rows") FROM justai_export.manifests WHERE "table" = 'generations' AND hour LIKE '2026-11-%';

-- A copy of your own survives overwrites as an Iceberg table: delete the hours that changed, and load them again.
CREATE TABLE justai_export.generations_copy (
  event_timestamp bigint, user_id string, tracking_id string, copy_id string, template_id string,
  vars struct<subject:string,preheader:string,body:string>, attrs map<string,string>, event_time timestamp,
  generation_id string, variant_name string, propensity double, snapshot_id string, control boolean,
  decision string, reason string, outcome string, outcome_reason string
)
LOCATION 's3://your-bucket/justai/generations/' TBLPROPERTIES ('table_type' = 'ICEBERG');
DELETE FROM justai_export.generations_copy
WHERE event_timestamp >= to_unixtime(timestamp '2026-11-01 00:00 UTC')
  AND event_timestamp < to_unixtime(timestamp '2026-11-02 00:00 UTC');
INSERT INTO justai_export.generations_copy
SELECT
  event_timestamp, user_id, tracking_id, copy_id, template_id, vars, attrs, event_time, generation_id,
  variant_name, propensity, snapshot_id, control, decision, reason, outcome, outcome_reason
FROM justai_export.generations WHERE year = 2026 AND month = 11 AND day = 1;
