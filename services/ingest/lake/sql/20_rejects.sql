-- What is no event, and why. Engines that split a file among workers know no line numbers: the ids and the file say
-- which row it is.
SELECT file, reason, event_id, profile_id, metric FROM parsed WHERE reason IS NOT NULL
