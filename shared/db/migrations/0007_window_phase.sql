-- When Klaviyo's minute ends for an account, as its answers have told, and what the account's other apps spend of the
-- same quota. The share that we use starts whole: as long as the phase is unknown, the arithmetic itself keeps back.
ALTER TABLE klaviyo_accounts
    ADD COLUMN phase_low_s   float8,                       -- the minute ends between this, epoch seconds modulo 60, …
    ADD COLUMN phase_width_s float8,                       -- … and so much later
    ADD COLUMN phase_at      timestamptz,
    ADD COLUMN others_spent  int NOT NULL DEFAULT 0,       -- requests of others in the minute of others_at
    ADD COLUMN others_at     timestamptz,
    ADD COLUMN others_per_s  float8,                       -- as a rule; null before a whole minute was seen
    ADD COLUMN others_burst  float8 NOT NULL DEFAULT 0,    -- requests that came at once
    ALTER COLUMN factor SET DEFAULT 1.0;
UPDATE klaviyo_accounts SET factor = 1.0 WHERE factor >= 0.9;
