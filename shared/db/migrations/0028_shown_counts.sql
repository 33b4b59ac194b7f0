-- What emails showed and how writes ended, counted ahead by quarter hours of acceptance (ADR 0021), so that no page joins
-- generations, outcomes and sends. Any zone's midnight is the edge of a quarter. Always counted from the facts, a whole
-- quarter at once, never added up. Written by ingest (services/ingest/shown.py).

-- One row for each way in which generations of a template were decided, ended and showed. `span`: 15 minutes, or
-- 1, 3, 12 hours, a day, a week, which are the sums of those below them: so a month is read as weeks and its edge.
CREATE TABLE shown_counts (
    org_id      uuid NOT NULL,
    span        smallint NOT NULL CHECK (span IN (15, 60, 180, 720, 1440, 10080)),  -- minutes
    at          timestamptz NOT NULL,                -- where the span begins
    template_id text NOT NULL,
    decision    text NOT NULL,
    decided     text NOT NULL,                       -- the decision's reason
    outcome     text,                                -- null: not settled
    reason      text,                                -- the outcome's
    shown       text NOT NULL,                       -- shared/admin/operations_number.py
    because     text NOT NULL,
    emails      bigint NOT NULL,
    seen        bigint NOT NULL,                     -- of how many a sent email is known
    UNIQUE NULLS NOT DISTINCT (org_id, span, at, template_id, decision, decided, outcome, reason, shown, because)
) WITH (fillfactor = 80);
SELECT secure_table('shown_counts');

-- Which quarters there are, and which have to be counted anew.
CREATE TABLE shown_quarters (
    org_id      uuid NOT NULL,
    at          timestamptz NOT NULL,
    revision    bigint NOT NULL DEFAULT 1,
    counted     bigint NOT NULL DEFAULT 0,           -- the revision that was counted last
    raised_at   timestamptz,                         -- what is not counted yet has happened since then
    counted_at  timestamptz,
    next_at     timestamptz,                         -- a deadline then passes without an outcome
    waits_from  date,                                -- days of generations whose outcome would change it, …
    waits_to    date,                                -- … the first and the last
    hangs       bool NOT NULL DEFAULT false,         -- an older generation that comes late could change it
    claim_id    uuid,
    lease_until timestamptz,                         -- of who counts it now
    PRIMARY KEY (org_id, at)
) WITH (fillfactor = 70);
CREATE INDEX shown_quarters_raised ON shown_quarters (at) WHERE counted < revision;
CREATE INDEX shown_quarters_next ON shown_quarters (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX shown_quarters_waiting ON shown_quarters (org_id, waits_from) WHERE waits_from IS NOT NULL;
SELECT secure_table('shown_quarters');

-- Something of an org has changed. Only ever appended to by those who write the facts, in their transaction, and taken
-- away by who counts: a counter in a row of its own would make writers wait for each other. No index, for it is short.
CREATE TABLE shown_marks (
    org_id uuid NOT NULL,
    at     timestamptz,                              -- the quarter, or …
    day    date,                                     -- … the generations' day: which of them, the outcome does not know
    came   bool NOT NULL DEFAULT false               -- generations came
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
SELECT secure_table('shown_marks');

-- When marks of an org were taken last.
CREATE TABLE shown_orgs (
    org_id    uuid PRIMARY KEY,
    passed_at timestamptz NOT NULL
) WITH (fillfactor = 50);
SELECT secure_table('shown_orgs');

CREATE FUNCTION quarter_of(at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN date_bin('15 minutes', at, '1970-01-01 00:00:00Z');

CREATE FUNCTION mark_shown_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shown_marks (org_id, at, came) SELECT DISTINCT org_id, quarter_of(accepted_at), true FROM changed;
    RETURN NULL;
END
$$;
CREATE TRIGGER generations_came AFTER INSERT ON generations
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_shown_came();

-- A person is deleted with all that hangs on them, so no other quarter changes.
CREATE FUNCTION mark_shown_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shown_marks (org_id, at) SELECT DISTINCT org_id, quarter_of(accepted_at) FROM changed;
    RETURN NULL;
END
$$;
CREATE TRIGGER generations_gone AFTER DELETE ON generations
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_shown_gone();

CREATE FUNCTION mark_shown_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shown_marks (org_id, day) SELECT DISTINCT org_id, day FROM changed;
    RETURN NULL;
END
$$;
CREATE TRIGGER write_outcomes_came AFTER INSERT ON write_outcomes
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_shown_ended();

-- Of a send only the generation and the moment matter; opens and clicks mark nothing.
CREATE FUNCTION mark_shown_sent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shown_marks (org_id, at)
    SELECT DISTINCT g.org_id, quarter_of(g.accepted_at) FROM changed c
    JOIN generations g ON g.day = c.generation_day AND g.generation_id = c.generation_id;
    RETURN NULL;
END
$$;
CREATE FUNCTION mark_shown_sent_anew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO shown_marks (org_id, at)
    SELECT DISTINCT g.org_id, quarter_of(g.accepted_at)
    FROM before b JOIN changed c USING (org_id, transmission_id)
    CROSS JOIN LATERAL (VALUES (b.generation_day, b.generation_id), (c.generation_day, c.generation_id))
        v (day, generation_id)
    JOIN generations g ON g.day = v.day AND g.generation_id = v.generation_id
    WHERE (b.generation_id, b.sent_at) IS DISTINCT FROM (c.generation_id, c.sent_at);
    RETURN NULL;
END
$$;
CREATE TRIGGER sends_came AFTER INSERT ON sends
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_shown_sent();
CREATE TRIGGER sends_changed AFTER UPDATE ON sends
    REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_shown_sent_anew();
CREATE TRIGGER sends_gone AFTER DELETE ON sends
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION mark_shown_sent();

SET LOCAL ROLE justai_worker;  -- the owner sees no rows
INSERT INTO shown_quarters (org_id, at) SELECT DISTINCT org_id, quarter_of(accepted_at) FROM generations;
RESET ROLE;
