-- What people got too long ago is found without reading what everybody got. Whoever stores generations waits while this
-- is built: seconds for some million rows, and a migration's statement may take 60. With more of them, build it
-- beforehand, beside everything: CREATE INDEX CONCURRENTLY last_copies_by_time ON last_copies (accepted_at).
CREATE INDEX IF NOT EXISTS last_copies_by_time ON last_copies (accepted_at);
