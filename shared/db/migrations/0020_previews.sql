-- Requests of people who look at copy: never learned from, counted or exported (shared/schemas/decisions.py). Values of
-- `decision`, not a column beside it, so that a reader who names the decisions it knows leaves them out by itself.
--
-- NOT VALID: the rows that are there passed a narrower check; to look at them all would hold the table's lock meanwhile.
ALTER TABLE generations DROP CONSTRAINT generations_decision_check;
ALTER TABLE generations ADD CONSTRAINT generations_decision_check
    CHECK (decision IN ('treatment', 'control', 'preview', 'written_preview')) NOT VALID;
COMMENT ON COLUMN generations.decision IS
    'treatment | control; preview: looked at, never written; written_preview: looked at and written';
COMMENT ON COLUMN sends.attribution IS
    'message | flow; not attributed: not_a_flow | no_generation | other_message | preview';
