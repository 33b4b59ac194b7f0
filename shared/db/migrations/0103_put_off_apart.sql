-- A crowd that is put off would have to be passed over, row by row, to find the retries behind it; and the other way.
CREATE INDEX pending_writes_by_retry ON pending_writes (account_key, deadline_at)
    WHERE lane = 2 AND (latest_at IS NULL OR latest_at > deadline_at);
CREATE INDEX pending_writes_put_off ON pending_writes (account_key, deadline_at)
    WHERE lane = 2 AND latest_at <= deadline_at;
