-- delay_s is the least time from our webhook to the email. A delay until a time of day, or the longer of two branches,
-- takes more: copy has to stay on the profile until then. Releases before this one read delay_s alone; what they write
-- leaves latest_s null.
ALTER TABLE flow_messages
    ADD COLUMN latest_s         int,                            -- the most that it takes; null: as delay_s
    ADD COLUMN open_ended       boolean NOT NULL DEFAULT false, -- nobody knows the most: it waits for a date, or for goods
    ADD COLUMN delay_changed_at timestamptz;                    -- when another wait was read than before; null: never
