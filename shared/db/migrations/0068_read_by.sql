-- By which mapping a file was read ({} where the source has none): the same bytes are the same file only where they were
-- read alike. Null: read before this was noted, so it is not known, and the same bytes are read once more.
ALTER TABLE ingest_files ADD COLUMN read_by jsonb;
