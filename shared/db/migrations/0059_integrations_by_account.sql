-- Who writes on a quota is asked with each intake: whether any of its keys may take the bulk road.
CREATE INDEX integrations_by_account ON integrations (account_key);
