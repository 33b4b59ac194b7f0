-- Klaviyo's Events API as a source: its files are windows of time (services/ingest/klaviyo_windows.py), which the ledger
-- of files remembers like any other. All that is kept beside it is since when, and what was asked for of before.

CREATE TABLE event_sources (
    source_id uuid PRIMARY KEY REFERENCES sources ON DELETE CASCADE,
    org_id    uuid NOT NULL REFERENCES orgs,
    began     date NOT NULL                    -- the first day (UTC) that is read by itself: when it was first listed
);
SELECT secure_table('event_sources');

-- Asked for again, a span is read again: the windows are named by when that was.
CREATE TABLE event_backfills (
    source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    org_id    uuid NOT NULL REFERENCES orgs,
    since     date NOT NULL,                   -- days, UTC
    until     date NOT NULL,                   -- exclusive
    asked_at  timestamptz NOT NULL,            -- whole seconds
    PRIMARY KEY (source_id, since, until),
    CHECK (since < until)
);
SELECT secure_table('event_backfills');
