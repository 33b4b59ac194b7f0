-- What people got too long ago is found without reading what everybody got. While this is built nobody stores generations
-- (they are tried again, for as long as their time lasts), and a migration's statement may take 60 s. With many millions
-- of rows build it beforehand, beside everything: CREATE INDEX CONCURRENTLY last_copies_by_time ON last_copies (accepted_at).
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('last_copies_by_time') AND NOT indisvalid) THEN
        RAISE EXCEPTION 'the index last_copies_by_time was not built to its end: DROP INDEX last_copies_by_time, and again';
    END IF;
END
$$;
CREATE INDEX IF NOT EXISTS last_copies_by_time ON last_copies (accepted_at);
