-- A refused key is asked again with one write now and then: what was refused in passing must not wait for a person.
-- null: paused by a release before, asked at once.
ALTER TABLE write_pauses ADD COLUMN ask_at timestamptz;
