-- What was decided last for a profile's prefix, apart from what may be on it: until now a later decision moved
-- `accepted_at` of the copy itself, and was forgotten when that copy was taken off.
ALTER TABLE profile_state ADD COLUMN decided_at timestamptz;     -- null: by a release before; then accepted_at
ALTER TABLE profile_state ADD COLUMN decided_until timestamptz;  -- null: likewise; then clean_at
-- Messages that were decided anew since, so what may show in them is out of date. Without it a third generation that
-- took the second one's place in the queue, for another message, also took its hurry.
ALTER TABLE profile_state ADD COLUMN stale_for text[] NOT NULL DEFAULT '{}';
