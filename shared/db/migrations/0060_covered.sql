-- Copy that a request of an earlier turn may lie over, which landed while it was in flight. To a release before it is as
-- good as unknown. Not valid: the rows that are there keep the narrower rule, and none has to be read for the wider one.
ALTER TABLE profile_state DROP CONSTRAINT profile_state_state_check;
ALTER TABLE profile_state ADD CONSTRAINT profile_state_state_check
    CHECK (state IN ('clean', 'holding', 'unknown', 'covered')) NOT VALID;
