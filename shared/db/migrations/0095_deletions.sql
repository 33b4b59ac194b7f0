-- Deletions of people, found by whoever loads what was told of them before (services/ingest/loading/deleted_people.py).
CREATE INDEX audit_log_deletions ON audit_log (org_id, at) WHERE operation = 'person.delete';
