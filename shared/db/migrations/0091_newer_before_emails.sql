-- An email shows control where something newer took the properties of its copy before it left. So a quarter hour of emails
-- that have left changes with generations that came before they did and are stored only now. Null: none has left, or a
-- release before has counted it.
ALTER TABLE shown_quarters ADD COLUMN left_to timestamptz;      -- the last moment at which one of its emails left
CREATE INDEX shown_quarters_left ON shown_quarters (org_id, left_to) WHERE left_to IS NOT NULL;

-- The last day is counted by this release's rules; what was counted before it stays as it is.
SET LOCAL ROLE justai_worker;  -- the owner sees no rows
UPDATE shown_quarters SET revision = revision + 1, raised_at = CASE WHEN counted < revision THEN raised_at ELSE now() END
WHERE at >= now() - interval '1 day';
RESET ROLE;
