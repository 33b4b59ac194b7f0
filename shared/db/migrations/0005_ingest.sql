-- Engagement: where files come from, what became of each file, the events in them, and what follows from the events.

DO $$
BEGIN
    -- Rows of a file are staged in temporary tables, by the tenant role.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO justai_worker, justai_tenant', current_database());
END
$$;

-- A folder on somebody's SFTP server.
CREATE TABLE sources (
    source_id      uuid PRIMARY KEY,
    org_id         uuid NOT NULL REFERENCES orgs,
    name           text NOT NULL DEFAULT 'sftp',
    kind           text NOT NULL DEFAULT 'sftp' CHECK (kind = 'sftp'),
    host           text NOT NULL CHECK (host <> ''),
    port           int NOT NULL DEFAULT 22 CHECK (port BETWEEN 1 AND 65535),
    username       text NOT NULL CHECK (username <> ''),
    path           text NOT NULL DEFAULT '.',        -- the folder; not searched below
    pattern        text NOT NULL DEFAULT '*',        -- of file names: * ? [abc]
    host_key       text NOT NULL CHECK (host_key <> ''),  -- the server's public key, `ssh-ed25519 AAAA…`: pinned, never learned
    sealed_key     text NOT NULL,                    -- our private key, sealed at `<org id>/source/<source id>`
    mapping        jsonb,                            -- {"<field>": "<column name>"} where the header does not say it
    enabled        bool NOT NULL DEFAULT true,
    poll_s         int NOT NULL DEFAULT 60 CHECK (poll_s BETWEEN 1 AND 86400),
    next_poll_at   timestamptz,                      -- null: at once; set by whoever takes the slot
    last_polled_at timestamptz,                      -- the last listing that succeeded
    listed         int NOT NULL DEFAULT 0,           -- files in it that fit the pattern
    ignored        int NOT NULL DEFAULT 0,           -- folders, links, other names in it
    last_error     text,
    last_error_at  timestamptz,
    refused_at     timestamptz,                      -- the host key did not fit: not tried again until the row changes
    UNIQUE (org_id, name)
);
SELECT secure_table('sources');

CREATE FUNCTION give_source_another_try() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.refused_at := NULL;
    NEW.next_poll_at := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER sources_changed
    BEFORE UPDATE OF host, port, username, path, pattern, host_key, sealed_key, enabled ON sources
    FOR EACH ROW EXECUTE FUNCTION give_source_another_try();

-- The ledger: one row per version of a file. A high-water mark of modification times would lose files that come late
-- with an older time, and two files of one second.
CREATE TABLE ingest_files (
    file_id       uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES orgs,
    source_id     uuid NOT NULL REFERENCES sources,
    path          text NOT NULL,
    size          bigint NOT NULL,                   -- bytes, as listed
    mtime         timestamptz NOT NULL,              -- the server's clock, whole seconds
    sha256        text,
    state         text NOT NULL DEFAULT 'listed'
                  CHECK (state IN ('listed', 'queued', 'loading', 'done', 'held', 'failed')),
    first_seen_at timestamptz NOT NULL,              -- since then every listing showed this size and time
    last_seen_at  timestamptz NOT NULL,
    queued_at     timestamptz,
    claim_id      uuid,                              -- who loads it now; the switch demands that it is still theirs
    lease_until   timestamptz,
    attempts      int NOT NULL DEFAULT 0,            -- that ended in trouble of this file
    rows          bigint NOT NULL DEFAULT 0,         -- records read = events + rejects
    rejects       bigint NOT NULL DEFAULT 0,
    fresh         bigint NOT NULL DEFAULT 0,         -- events that no earlier file had brought
    same_as       uuid,                              -- the file whose bytes these were already
    error         text,
    settled_at    timestamptz,
    UNIQUE (source_id, path, size, mtime)
);
CREATE INDEX ingest_files_open ON ingest_files (source_id, state) WHERE state IN ('listed', 'queued', 'loading');
CREATE INDEX ingest_files_by_bytes ON ingest_files (org_id, sha256) WHERE state = 'done';
SELECT secure_table('ingest_files');

CREATE TABLE ingest_rejects (
    org_id  uuid NOT NULL,
    file_id uuid NOT NULL REFERENCES ingest_files ON DELETE CASCADE,
    line    int NOT NULL,                            -- where the record starts; the header is line 1
    reason  text NOT NULL,
    raw     text NOT NULL,                           -- at most 2 KB
    PRIMARY KEY (file_id, line)
);
SELECT secure_table('ingest_rejects');

-- What people did, each event once. The id is Klaviyo's; `day` is that of event_at, UTC.
CREATE TABLE events (
    day             date NOT NULL,
    org_id          uuid NOT NULL,
    event_id        text NOT NULL,
    metric          text NOT NULL,                   -- `Received Email`, `Opened Email`, …, by name
    profile_id      text NOT NULL,
    event_at        timestamptz NOT NULL,
    message_id      text,
    flow_id         text,                            -- null: a campaign
    transmission_id text,                            -- one real email; shared by received, opened, clicked; a bounce
                                                     -- that names none has one of its own, `bounce:…`
    handoff_at      timestamptz,                     -- when Klaviyo handed the email over; it was rendered before that
    machine_open    bool,                            -- null: not said, so not known to be a person
    bot_click       bool,
    url             text,
    value           float8,
    file_id         uuid NOT NULL,                   -- the file and line that brought it first
    line            int NOT NULL,
    PRIMARY KEY (org_id, event_id, day)
) PARTITION BY RANGE (day);
CREATE INDEX events_by_transmission ON events (org_id, transmission_id) WHERE transmission_id IS NOT NULL;
-- Unsubscribes and complaints may name only the message; few, and looked for once per send.
CREATE INDEX events_by_message ON events (org_id, profile_id, message_id)
    WHERE transmission_id IS NULL AND message_id IS NOT NULL;
SELECT secure_table('events');
-- Nothing of ours was sent before: years of a customer's history need no daily partitions.
CREATE TABLE events_history PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
SELECT secure_table('events_history');

-- One row per real email: what its events say together, and the generation that it showed. Always computed from
-- `events`, never added up.
CREATE TABLE sends (
    org_id          uuid NOT NULL,
    transmission_id text NOT NULL,
    profile_id      text NOT NULL,
    message_id      text,
    flow_id         text,
    sent_at         timestamptz NOT NULL,            -- hand-over where known, else delivery or bounce
    day             date NOT NULL,                   -- of sent_at, UTC
    attribution     text NOT NULL,                   -- message | flow; not attributed: not_a_flow | no_generation | other_message
    generation_id   uuid,
    generation_day  date,
    template_id     text,                            -- null: not attributed
    copy_id         uuid,                            -- null: control
    cell            text NOT NULL DEFAULT '',
    delivered       bool NOT NULL,
    bounced         bool NOT NULL,                   -- bounced or dropped
    unsubscribed    bool NOT NULL,
    spam            bool NOT NULL,
    first_open_at   timestamptz,                     -- by a person
    human_opens     int NOT NULL,
    machine_opens   int NOT NULL,                    -- by a machine, or not known to be by a person
    first_click_at  timestamptz,                     -- by a person, on content
    human_clicks    int NOT NULL,                    -- without links to unsubscribe, preferences, web view
    bot_clicks      int NOT NULL,
    PRIMARY KEY (org_id, transmission_id)
) WITH (fillfactor = 85);                            -- opens come later: room to update in place
CREATE INDEX sends_by_template ON sends (org_id, template_id, day) WHERE template_id IS NOT NULL;
CREATE INDEX sends_by_person ON sends (org_id, profile_id, sent_at);
SELECT secure_table('sends');

-- Sends counted per variant (null: control), cell of attrs and day of sending; each send counts once per column.
-- Rebuilt from `sends` for what a file touched. The day keeps that rebuilding as small as the day.
CREATE TABLE rollups (
    org_id        uuid NOT NULL,
    template_id   text NOT NULL,
    copy_id       uuid,
    cell          text NOT NULL,
    day           date NOT NULL,
    sends         bigint NOT NULL,
    delivered     bigint NOT NULL,
    human_opens   bigint NOT NULL,
    machine_opens bigint NOT NULL,
    human_clicks  bigint NOT NULL,
    bot_clicks    bigint NOT NULL,
    unsubscribes  bigint NOT NULL,
    bounces       bigint NOT NULL,
    spam          bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (org_id, template_id, day, copy_id, cell)
);
SELECT secure_table('rollups');
