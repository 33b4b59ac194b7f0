-- Every change that somebody makes to an org, in the transaction of the change (ADR 0017). Only ever added to: no role
-- that a service or `justai` works as may edit or delete a row.
CREATE TABLE audit_log (
    org_id     uuid NOT NULL REFERENCES orgs,
    audit_id   bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    actor      text NOT NULL,
    actor_kind text NOT NULL CHECK (actor_kind IN ('person', 'key', 'cli')),
    operation  text NOT NULL,                  -- like keys.create (shared/admin/)
    target     text NOT NULL,                  -- what was touched, in a few words
    asked      jsonb NOT NULL,                 -- without secrets, long texts cut
    results    jsonb NOT NULL DEFAULT '{}',    -- ids of what was made
    request_id text NOT NULL,
    PRIMARY KEY (org_id, audit_id)             -- and read in this order: newest first, page by page
);
CREATE INDEX audit_log_by_time ON audit_log (org_id, at);
SELECT secure_table('audit_log');
REVOKE UPDATE, DELETE ON audit_log FROM justai_worker, justai_tenant;
