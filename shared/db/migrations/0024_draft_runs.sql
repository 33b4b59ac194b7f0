-- Drafting by a model, as runs that any replica of the console works off (ADR 0019). Times are those of people: a model
-- needs real seconds, whatever clock the services have.
CREATE TABLE draft_runs (
    org_id         uuid NOT NULL,
    run_id         uuid NOT NULL,
    template_id    text NOT NULL,
    brief          jsonb NOT NULL,
    number         int NOT NULL CHECK (number BETWEEN 1 AND 20),  -- drafts that are asked for
    asked_by       text NOT NULL,
    model          text NOT NULL,                -- as it was shown to who asked
    retry_of       uuid,
    state          text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    code           text,                         -- of why it failed, for machines
    reason         text,                         -- the same for people; who cancelled it
    created_at     timestamptz NOT NULL,
    deadline_at    timestamptz NOT NULL,         -- a run that is not through by then has failed, whoever looks at it
    started_at     timestamptz,
    ended_at       timestamptz,
    epoch          bigint NOT NULL DEFAULT 0,    -- raised by every claim; only the newest may store
    claims         int NOT NULL DEFAULT 0,       -- since the last draft came to its end: what kills its worker is left
    lease_until    timestamptz,                  -- until then nobody else claims it
    tokens_read    bigint NOT NULL DEFAULT 0,
    tokens_written bigint NOT NULL DEFAULT 0,
    uncounted      int NOT NULL DEFAULT 0,       -- answers whose server did not say
    PRIMARY KEY (org_id, run_id),
    UNIQUE (org_id, retry_of),                   -- a run is tried again once; what came of that may be, too
    FOREIGN KEY (org_id, template_id) REFERENCES templates,
    FOREIGN KEY (org_id, retry_of) REFERENCES draft_runs (org_id, run_id)
);
CREATE INDEX draft_runs_open ON draft_runs (created_at) WHERE state IN ('queued', 'running');
CREATE INDEX draft_runs_by_template ON draft_runs (org_id, template_id, created_at);
CREATE INDEX draft_runs_by_time ON draft_runs (org_id, created_at);
SELECT secure_table('draft_runs');

-- What became of each draft of a run. The key is what keeps a draft from being stored twice: it is written in the
-- transaction that stores the variant.
CREATE TABLE draft_results (
    org_id   uuid NOT NULL,
    run_id   uuid NOT NULL,
    number   int NOT NULL,                       -- from 1
    theme    text NOT NULL,
    outcome  text NOT NULL CHECK (outcome IN ('in_review', 'draft', 'not_stored', 'no_draft', 'cut_off')),
    name     text,                               -- null: there is no draft
    subject  text,
    copy_id  uuid,                               -- null: it was not stored
    findings jsonb NOT NULL DEFAULT '[]',
    fault    text,                               -- why there is none
    made_at  timestamptz NOT NULL,
    PRIMARY KEY (org_id, run_id, number),
    FOREIGN KEY (org_id, run_id) REFERENCES draft_runs
);
SELECT secure_table('draft_results');
