-- Functions that run with the owner's rights look for their tables in `public` first. Without its name in the path a
-- session's own temporary tables come before all others, and one called `generations` would be worked on in place of ours.
ALTER FUNCTION ensure_partition(text, date) SET search_path = public, pg_temp;
ALTER FUNCTION detach_generations(date) SET search_path = public, pg_temp;
ALTER FUNCTION drop_detached_generations(date) SET search_path = public, pg_temp;
