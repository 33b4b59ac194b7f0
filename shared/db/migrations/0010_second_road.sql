-- The second road of profile writes, `POST /api/profile-import`: how we stand with that operation of an account, beside
-- klaviyo_accounts (PATCH), and whether Klaviyo counts it apart. No row: never tried. The account's row is its lock.
CREATE TABLE klaviyo_roads (
    account_key          text NOT NULL REFERENCES klaviyo_accounts ON DELETE CASCADE,
    road                 text NOT NULL CHECK (road = 'import'),
    verdict              text CHECK (verdict IN ('separate', 'shared', 'refused')),  -- of the quota; refused: the operation
    verdict_at           timestamptz,
    separate_votes       int NOT NULL DEFAULT 0,               -- looks in a row that said so …
    shared_votes         int NOT NULL DEFAULT 0,               -- … or so
    looks                int NOT NULL DEFAULT 0,               -- writes sent to find out, since the verdict
    looked_at            timestamptz,
    -- As in klaviyo_accounts; the breaker is of this road's calls alone.
    burst_limit          int NOT NULL DEFAULT 75 CHECK (burst_limit > 0),
    steady_limit         int NOT NULL DEFAULT 700 CHECK (steady_limit > 0),
    factor               float8 NOT NULL DEFAULT 1.0 CHECK (factor > 0 AND factor <= 1),
    factor_at            timestamptz,
    newest_slot          bigint NOT NULL DEFAULT 0,
    slots                int[] NOT NULL DEFAULT '{}',
    phase_low_s          float8,
    phase_width_s        float8,
    phase_at             timestamptz,
    others_spent         int NOT NULL DEFAULT 0,
    others_at            timestamptz,
    others_per_s         float8,
    others_burst         float8 NOT NULL DEFAULT 0,
    blocked_until        timestamptz,
    blocked_reason       text,
    failures             int NOT NULL DEFAULT 0,
    breaker_writes       int CHECK (breaker_writes > 0),
    calls_step           bigint NOT NULL DEFAULT 0,
    calls                int[] NOT NULL DEFAULT '{}',
    calls_failed         int[] NOT NULL DEFAULT '{}',
    advertised_limit     int,
    advertised_remaining int,
    advertised_reset_s   int,
    advertised_at        timestamptz,
    PRIMARY KEY (account_key, road)
) WITH (fillfactor = 50);
ALTER TABLE klaviyo_roads ENABLE ROW LEVEL SECURITY;
ALTER TABLE klaviyo_roads FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON klaviyo_roads TO justai_worker USING (current_user = 'justai_worker');
GRANT SELECT, INSERT, UPDATE, DELETE ON klaviyo_roads TO justai_worker;
