-- Until when a request that was given up without an answer may be applied to a profile, and what it would bring: one
-- generation's copy, or 'nothing'; null where several differ. A release before knows neither, and leaves them alone: what
-- it writes meanwhile may be sent once more than it has to be.
ALTER TABLE profile_state ADD COLUMN unanswered_until timestamptz;
ALTER TABLE profile_state ADD COLUMN unanswered_what text;
