-- The newest files of a source, by which it is told whether it has fallen silent; an org's page reads them each time.
CREATE INDEX ingest_files_by_first_seen ON ingest_files (source_id, first_seen_at DESC);
