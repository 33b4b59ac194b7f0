-- A replaced file takes back what it no longer says, and who else said it is known.

ALTER TABLE ingest_files
    ADD COLUMN superseded_by uuid,                   -- the version of the same path that took its place
    ADD COLUMN held          bigint;                 -- events in its name, or more; null: not counted
CREATE INDEX ingest_files_copies ON ingest_files (same_as) WHERE same_as IS NOT NULL;

-- An event is told once more, by another file than the one in its row. Versions of one path stand for each other: of a
-- row that the next version of its file has too, nothing is noted. `said`: what it says otherwise, as columns of events.
CREATE TABLE event_repeats (
    org_id   uuid NOT NULL,
    day      date NOT NULL,
    event_id text NOT NULL,
    file_id  uuid NOT NULL,
    line     int NOT NULL,
    said     jsonb,
    PRIMARY KEY (org_id, event_id, day, file_id)
);
CREATE INDEX event_repeats_by_file ON event_repeats (org_id, file_id);
CREATE INDEX event_repeats_said ON event_repeats (org_id) WHERE said IS NOT NULL;
SELECT secure_table('event_repeats');

-- Rows of one file lie together: a few bytes per 64 pages find them, and inserting pays next to nothing.
CREATE INDEX events_by_file ON events USING brin (file_id uuid_minmax_multi_ops)
    WITH (pages_per_range = 64, autosummarize = on);
