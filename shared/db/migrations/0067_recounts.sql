-- Orgs of which somebody asked to have all emails, orders and rollups computed anew from their events. Worked off by
-- ingest, a day at a time (services/ingest/attribution/recounts.py).
CREATE TABLE recounts (
    org_id   uuid PRIMARY KEY REFERENCES orgs,
    asked_at timestamptz NOT NULL,
    days     date[],                                 -- that are still to be done; null: nobody has looked which there are
    total    int,                                    -- so many there were
    tried_at timestamptz,                            -- orgs take turns
    ended_at timestamptz
);
SELECT secure_table('recounts');
