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

-- Klaviyo's system webhooks as a source: its files are minutes, in which signed batches came (services/ingest/batches.py).

ALTER TABLE sources
    DROP CONSTRAINT sources_kind,
    ADD CONSTRAINT sources_kind CHECK (kind IN ('sftp', 'folder', 's3', 'klaviyo', 'webhook'));

-- Where Klaviyo sends them: the address's last part, and the secret that it signs with.
CREATE TABLE event_hooks (
    source_id     uuid PRIMARY KEY REFERENCES sources ON DELETE CASCADE,
    org_id        uuid NOT NULL REFERENCES orgs,
    hook_id       uuid NOT NULL UNIQUE,
    sealed_secret text NOT NULL,               -- sealed at `<org id>/hook/<hook id>`
    sealed_before text,                        -- the one before, good until before_until
    before_until  timestamptz,
    changed_at    timestamptz NOT NULL
);
SELECT secure_table('event_hooks');

-- A batch that was answered 202 stands here until its minute has been loaded for a day. A batch that is sent twice with
-- one signature is one batch.
CREATE TABLE event_batches (
    batch_id    uuid PRIMARY KEY,
    org_id      uuid NOT NULL REFERENCES orgs,
    source_id   uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    signature   bytea NOT NULL,
    received_at timestamptz NOT NULL,
    bytes       int NOT NULL,
    lines       bytea NOT NULL,                -- an event a line, as files of JSON lines have them
    UNIQUE (source_id, signature)
);
CREATE INDEX event_batches_by_time ON event_batches (source_id, received_at);
SELECT secure_table('event_batches');
