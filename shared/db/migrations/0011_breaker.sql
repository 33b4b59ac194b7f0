-- How an account is left alone whose calls fail, though not all of them, and trusted again with growing turns.
-- `failures` stays: how often the rest has doubled.
ALTER TABLE klaviyo_accounts
    ADD COLUMN breaker_writes int CHECK (breaker_writes > 0),   -- most writes of the next turn; null: closed
    ADD COLUMN calls_step     bigint NOT NULL DEFAULT 0,        -- the number of the first step: epoch seconds / 5
    ADD COLUMN calls          int[] NOT NULL DEFAULT '{}',      -- answers and failures in steps of 5 s, newest first
    ADD COLUMN calls_failed   int[] NOT NULL DEFAULT '{}';      -- those of `calls` that failed
