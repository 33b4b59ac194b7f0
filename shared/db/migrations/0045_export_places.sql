-- No org's folder lies in another one's. A policy of a bucket lets us in for a prefix, whoever of our orgs asks: without
-- this, one of them could name another one's bucket and a folder below theirs. As a constraint, for what an org may see
-- of others is nothing. The range of keys that begin with the folder: of two of them, one holds the other or neither.
-- Endpoints of AWS are one place, however they are written. Targets from before have none until they move.
CREATE TYPE export_keys AS RANGE (subtype = text, collation = "C");
CREATE FUNCTION export_place(bucket text, prefix text, endpoint_url text) RETURNS export_keys
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN bucket <> '' THEN export_keys(folder || '/', folder || '0') END  -- 0 comes after /
    FROM (SELECT CASE WHEN endpoint_url IS NULL OR endpoint_url ~* '^https?://([^/]*\.)?amazonaws\.com(\.cn)?(:\d+)?/*$'
                 THEN 'aws' ELSE rtrim(lower(endpoint_url), '/') END
                 || ' ' || bucket || CASE WHEN prefix <> '' THEN '/' || prefix ELSE '' END AS folder) one
$$;
ALTER TABLE export_targets ADD COLUMN place export_keys, ADD EXCLUDE USING gist (place WITH &&);

CREATE FUNCTION place_export() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.place := export_place(NEW.bucket, NEW.prefix, NEW.endpoint_url);
    RETURN NEW;
END
$$;
CREATE TRIGGER export_targets_placed BEFORE INSERT ON export_targets FOR EACH ROW EXECUTE FUNCTION place_export();
CREATE TRIGGER export_targets_moved BEFORE UPDATE ON export_targets FOR EACH ROW
    WHEN ((OLD.bucket, OLD.prefix, OLD.endpoint_url) IS DISTINCT FROM (NEW.bucket, NEW.prefix, NEW.endpoint_url))
    EXECUTE FUNCTION place_export();
