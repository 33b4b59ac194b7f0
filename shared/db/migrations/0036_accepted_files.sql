-- A person takes a held file as it is: its good rows count, however many others it has. Of this version only.
ALTER TABLE ingest_files ADD COLUMN accepted_at timestamptz;
