-- A flow that waits until a time of day sends most of its emails hours after the first that may leave. A write that
-- Klaviyo's quota could not carry by `deadline_at` is tried until this one. Releases before this one leave it as it is.
ALTER TABLE pending_writes ADD COLUMN latest_at timestamptz;  -- null: the same as deadline_at
