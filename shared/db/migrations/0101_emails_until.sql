-- How far an org's event files tell of its emails: the newest event of one, written with each file. A click after it is
-- not known to be missing, so the ranker looks at sends as of then. No row: no file since this release, and the ranker
-- looks as of now, as the release before does.
CREATE TABLE known_events (
    org_id       uuid PRIMARY KEY REFERENCES orgs,
    emails_until timestamptz NOT NULL
) WITH (fillfactor = 70);
SELECT secure_table('known_events');
