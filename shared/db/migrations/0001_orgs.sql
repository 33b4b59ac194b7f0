-- Roles, row-level security and the tenants.
--
-- justai_worker: what services work as; crosses orgs by policy, owns nothing.
-- justai_tenant: sees one org, the one in app.org_id; taken inside a transaction whenever one org is served.
DO $$
BEGIN
    -- Roles belong to the whole server: databases that are migrated at once race for them, and the loser is content.
    BEGIN
        CREATE ROLE justai_worker NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    BEGIN
        CREATE ROLE justai_tenant NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    IF NOT pg_has_role('justai_worker', 'justai_tenant', 'MEMBER') THEN
        GRANT justai_tenant TO justai_worker;
    END IF;
    IF NOT pg_has_role(current_user, 'justai_worker', 'MEMBER') THEN
        EXECUTE format('GRANT justai_worker TO %I', current_user);
    END IF;
END
$$;

GRANT USAGE ON SCHEMA public TO justai_worker, justai_tenant;

-- One call per table: security on, forced on the owner too, one policy per role, the usual rights.
CREATE FUNCTION secure_table(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY worker ON %s TO justai_worker USING (current_user = ''justai_worker'')', target);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO justai_tenant USING (org_id = nullif(current_setting(''app.org_id'', true), '''')::uuid)',
        target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO justai_worker, justai_tenant', target);
END
$$;

-- Daily partitions of `parent`, made ahead of need by whoever writes there; made with the owner's rights.
CREATE FUNCTION ensure_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    child text := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN;
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid WHERE c.relname = parent
    ) THEN
        RAISE EXCEPTION 'no partitioned table %', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(7331003);
    BEGIN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent, day, day + 1);
        PERFORM secure_table(child::regclass);
    EXCEPTION WHEN duplicate_table THEN
        -- Somebody was faster, and is done since we hold the lock. Asking again instead would be answered from the
        -- catalogue cache, which waiting for an advisory lock does not refresh.
        NULL;
    END;
END
$$;
REVOKE ALL ON FUNCTION ensure_partition(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partition(text, date) TO justai_worker, justai_tenant;

-- Whoever holds configuration in memory listens on channel justai_config; the payload names table and org.
CREATE FUNCTION notify_config() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('justai_config', json_build_object(
        'table', TG_TABLE_NAME, 'org_id', coalesce(NEW.org_id, OLD.org_id))::text);
    RETURN NULL;
END
$$;

CREATE TABLE orgs (
    org_id     uuid PRIMARY KEY,
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    name       text NOT NULL,
    created_at timestamptz NOT NULL
);
SELECT secure_table('orgs');

CREATE TABLE api_keys (
    key_id       uuid PRIMARY KEY,
    org_id       uuid NOT NULL REFERENCES orgs,
    name         text NOT NULL,
    shown        text NOT NULL,                 -- what may be shown of it
    digest       bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    pepper       int NOT NULL,
    scopes       text[] NOT NULL DEFAULT '{generate}',
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
SELECT secure_table('api_keys');
CREATE TRIGGER api_keys_changed AFTER INSERT OR DELETE OR UPDATE OF revoked_at, expires_at, scopes ON api_keys
    FOR EACH ROW EXECUTE FUNCTION notify_config();

-- The org's connection to Klaviyo. account_key names the quota: `acct:<Klaviyo account id>` where the key may read
-- it, else `key:<hash of the key>`, or what the operator set; two orgs on one account share it.
CREATE TABLE integrations (
    org_id       uuid PRIMARY KEY REFERENCES orgs,
    esp          text NOT NULL DEFAULT 'klaviyo' CHECK (esp = 'klaviyo'),
    account_key  text NOT NULL,
    account_name text,
    base_url     text NOT NULL DEFAULT 'https://a.klaviyo.com',
    sealed_key   text NOT NULL,
    last4        text NOT NULL,
    scopes       text[] NOT NULL DEFAULT '{}',  -- what the key was seen to be allowed
    verified_at  timestamptz,
    updated_at   timestamptz NOT NULL
);
SELECT secure_table('integrations');
CREATE TRIGGER integrations_changed AFTER INSERT OR UPDATE OR DELETE ON integrations
    FOR EACH ROW EXECUTE FUNCTION notify_config();

-- What was last read of the account's flows ("Refresh Klaviyo Data"). Events carry message ids, tracking ids carry
-- action ids: this is the map.
CREATE TABLE flow_messages (
    org_id       uuid NOT NULL REFERENCES orgs,
    flow_id      text NOT NULL,
    flow_name    text NOT NULL,
    flow_status  text NOT NULL,
    action_id    text NOT NULL,
    message_id   text NOT NULL,
    message_name text NOT NULL,
    delay_s      int,                           -- from the webhook step to this email; null: no webhook before it
    synced_at    timestamptz NOT NULL,
    PRIMARY KEY (org_id, action_id, message_id)
);
CREATE INDEX flow_messages_by_message ON flow_messages (org_id, message_id);
SELECT secure_table('flow_messages');
CREATE TRIGGER flow_messages_changed AFTER INSERT OR UPDATE OR DELETE ON flow_messages
    FOR EACH ROW EXECUTE FUNCTION notify_config();
