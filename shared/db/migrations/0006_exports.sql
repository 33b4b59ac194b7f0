-- Where an org's exports go, and the ledger of its exported hours.

CREATE TABLE export_targets (
    org_id        uuid PRIMARY KEY REFERENCES orgs,
    bucket        text NOT NULL CHECK (bucket <> ''),
    prefix        text NOT NULL DEFAULT '' CHECK (prefix !~ '^/|/$'),  -- of `generations`; '' is the bucket's root
    endpoint_url  text,                          -- null: AWS; else any S3 server, addressed path style
    region        text NOT NULL DEFAULT 'us-east-1',
    access_key    text,                          -- null: the exporter's own identity (environment, instance, pod)
    sealed_secret text,                          -- place <org_id>/export
    role_arn      text,                          -- null: the customer's bucket policy names our identity
    external_id   text,
    cadence       text NOT NULL DEFAULT 'daily' CHECK (cadence IN ('daily', 'hourly')),
    enabled       boolean NOT NULL DEFAULT true, -- false: nothing new is scheduled; a backfill still runs
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CHECK ((access_key IS NULL) = (sealed_secret IS NULL))
);
SELECT secure_table('export_targets');
-- Two orgs in one folder would overwrite each other's hours.
CREATE UNIQUE INDEX export_targets_place ON export_targets (bucket, prefix, coalesce(endpoint_url, ''));

-- One row per hour that is or was to be exported. It needs an export while dirty_seq > exported_seq; whoever changes
-- what the hour holds raises dirty_seq, the exporter sets exported_seq to the dirty_seq that its snapshot covers.
CREATE TABLE export_hours (
    org_id       uuid NOT NULL,
    table_name   text NOT NULL CHECK (table_name ~ '^[a-z][a-z_]{0,40}$'),
    hour         timestamptz NOT NULL CHECK (date_trunc('hour', hour, 'UTC') = hour),
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'exporting', 'exported', 'blocked')),
    reason       text NOT NULL CHECK (reason IN ('schedule', 'backfill', 'dirty')),  -- why it needs, or got, its export
    dirty_seq    bigint NOT NULL DEFAULT 1,
    exported_seq bigint NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL,           -- when the scheduler publishes it (again) while it needs an export
    epoch        bigint NOT NULL DEFAULT 0,      -- raised by every claim; only the newest claim may finish
    lease_until  timestamptz,                    -- until then nobody else may claim it
    rows         bigint,                         -- from here on: of the last finished export
    bytes        bigint,
    sha256       text,
    etag         text,
    revision     bigint,                         -- of the object; stays when a run found the same bytes there
    exported_at  timestamptz,
    error        text,                           -- of the last run that did not finish, `code: message`; null after one that did
    PRIMARY KEY (org_id, table_name, hour)
);
SELECT secure_table('export_hours');
CREATE INDEX export_hours_to_do ON export_hours (due_at) WHERE dirty_seq > exported_seq;

-- The advisory lock of one org-hour.
CREATE FUNCTION export_hour_lock(org_id uuid, hour timestamptz) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT hashtextextended(org_id::text || extract(epoch FROM hour)::text, 7331006)
$$;

-- Rows that arrive after their hour was exported (a generator that caught up) make exactly that hour dirty.
-- Whoever inserts holds the hour's lock shared until the commit; an exporter that has claimed the hour takes it once,
-- exclusive, before its snapshot. So every row is either in the snapshot or its insert has seen the ledger row.
-- Locks are taken in one order everywhere, or two batches and two exporters could wait in a ring.
CREATE FUNCTION mark_export_hours() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched record;
BEGIN
    FOR touched IN
        SELECT DISTINCT org_id, date_trunc('hour', accepted_at, 'UTC') AS hour FROM inserted ORDER BY 1, 2
    LOOP
        PERFORM pg_advisory_xact_lock_shared(export_hour_lock(touched.org_id, touched.hour));
        UPDATE export_hours e
        SET dirty_seq = e.dirty_seq + 1, due_at = '-infinity', reason = 'dirty',
            state = CASE WHEN e.state = 'exporting' THEN e.state ELSE 'pending' END
        WHERE e.org_id = touched.org_id AND e.table_name = 'generations' AND e.hour = touched.hour;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER generations_inserted AFTER INSERT ON generations
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION mark_export_hours();
