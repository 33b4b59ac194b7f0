-- Results counted ahead, so that a page over ten million events sums some hundred rows. Always counted from the facts,
-- a whole day of decisions at once, never added up. Written by ingest (services/ingest/counting.py).

-- Decisions of one day and what came of them until now. `attr` and `value`: those of people with this value; both
-- empty: of everybody. A decision counts once in each column; from `opened` on only delivered ones.
CREATE TABLE result_counts (
    org_id         uuid NOT NULL,
    template_id    text NOT NULL,
    attr           text NOT NULL,
    day            date NOT NULL,
    value          text NOT NULL,
    control        bool NOT NULL,
    external       bool NOT NULL,                    -- Klaviyo's own control branch, of which only sends are known
    copy_id        uuid,                             -- null: control, or treatment that could not be rendered
    assigned       bigint NOT NULL,
    written        bigint NOT NULL,
    sent           bigint NOT NULL,
    delivered      bigint NOT NULL,
    opened         bigint NOT NULL,                  -- by a person
    machine_opened bigint NOT NULL,                  -- by a machine alone
    clicked        bigint NOT NULL,                  -- by a person
    bot_clicked    bigint NOT NULL,                  -- by a bot alone
    unsubscribed   bigint NOT NULL,
    spam           bigint NOT NULL,
    driven_away    bigint NOT NULL                   -- unsubscribed or complained
);
CREATE INDEX result_counts_by_attr ON result_counts (org_id, template_id, attr, day);
-- Everybody's rows are what most pages read; those of one template lie on as many pages as there are days.
CREATE INDEX result_counts_of_everybody ON result_counts (org_id, template_id, day) INCLUDE (control, external, copy_id,
    assigned, written, sent, delivered, opened, machine_opened, clicked, bot_clicked, unsubscribed, spam, driven_away)
    WHERE attr = '';
CREATE INDEX result_counts_by_day ON result_counts (org_id, day);
SELECT secure_table('result_counts');

-- Which days are counted. `revision` is raised in the transaction that changes a day's sends, however old the day is.
CREATE TABLE result_days (
    org_id      uuid NOT NULL,
    day         date NOT NULL,
    revision    bigint NOT NULL DEFAULT 1,
    counted     bigint NOT NULL DEFAULT 0,           -- the revision that was counted last
    counted_at  timestamptz,
    open_until  timestamptz,                         -- until then writes and sends of the day may still come
    claim_id    uuid,
    lease_until timestamptz,                         -- of who counts it now
    PRIMARY KEY (org_id, day)
) WITH (fillfactor = 70);
SELECT secure_table('result_days');
CREATE INDEX result_days_waiting ON result_days (counted_at NULLS FIRST) WHERE counted < revision;

-- What sums of days cannot say, like weighted rates of variants and people counted once: computed from the log now and
-- then, as `justai results` computes it, and shown with its moment.
CREATE TABLE result_reports (
    org_id      uuid NOT NULL,
    template_id text NOT NULL,
    revision    bigint NOT NULL DEFAULT 1,           -- raised when a count or a conversion of the template has changed
    reported    bigint NOT NULL DEFAULT 0,
    as_of       timestamptz,
    report      jsonb,                               -- shared/admin/results_report.py
    error       text,                                -- of the last try; null after one that did
    claim_id    uuid,
    lease_until timestamptz,                         -- after a failure: a pause
    PRIMARY KEY (org_id, template_id)
) WITH (fillfactor = 70);
SELECT secure_table('result_reports');

-- A late file is about sends of an older day of decisions.
CREATE INDEX sends_by_decision ON sends (org_id, generation_day) WHERE generation_day IS NOT NULL;

SET LOCAL ROLE justai_worker;  -- the owner sees no rows
INSERT INTO result_days (org_id, day) SELECT DISTINCT org_id, day FROM generations;
RESET ROLE;
