-- The export of acme (s3://records/jai) in Athena, by `justai export loader`.
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
  `vars` struct<subject:string,preheader:string,body:string>, `attrs` map<string,string>
)
PARTITIONED BY (datehour string)
STORED AS PARQUET
LOCATION 's3://records/jai/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.datehour.type' = 'date',
  'projection.datehour.format' = 'yyyy/MM/dd/HH',
  'projection.datehour.range' = '2024/01/01/00,NOW',
  'projection.datehour.interval' = '1',
  'projection.datehour.interval.unit' = 'HOURS',
  'storage.location.template' = 's3://records/jai/${datehour}/'
);

-- What the export says of each hour: none, and it is not exported yet. From here you know which hours changed.
DROP TABLE IF EXISTS justai_export.manifests;
CREATE EXTERNAL TABLE justai_export.manifests (
  `table` string, hour string, revision bigint, `rows` bigint,
  files array<struct<key:string,`rows`:bigint,bytes:bigint,sha256:string>>
)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
LOCATION 's3://records/jai/_manifests/';

-- The month: these two are equal when it is complete.
SELECT count(*) FROM justai_export.generations WHERE datehour BETWEEN '2026/11/01/00' AND '2026/11/30/23';
SELECT sum("rows") FROM justai_export.manifests WHERE "table" = 'generations' AND hour LIKE '2026-11-%';

-- A copy of your own survives overwrites as an Iceberg table: delete the hours that changed, and load them again.
CREATE TABLE justai_export.generations_copy (
  event_timestamp bigint, user_id string, tracking_id string, copy_id string, template_id string,
  vars struct<subject:string,preheader:string,body:string>, attrs map<string,string>
)
LOCATION 's3://your-bucket/justai/generations/' TBLPROPERTIES ('table_type' = 'ICEBERG');
DELETE FROM justai_export.generations_copy
WHERE event_timestamp >= to_unixtime(timestamp '2026-11-01 00:00 UTC')
  AND event_timestamp < to_unixtime(timestamp '2026-11-02 00:00 UTC');
INSERT INTO justai_export.generations_copy
SELECT
  event_timestamp, user_id, tracking_id, copy_id, template_id, vars, attrs
FROM justai_export.generations WHERE datehour BETWEEN '2026/11/01/00' AND '2026/11/01/23';
