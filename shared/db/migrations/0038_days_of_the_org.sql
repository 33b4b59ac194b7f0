-- Results are told by days of the org's own zone. They are still counted by days of UTC, as generations are kept and
-- dropped; each row says by how many days the org's day, at the moment of the decision, is from that. Releases before
-- this one write 0, which is a day of UTC.
ALTER TABLE result_counts ADD COLUMN shift smallint NOT NULL DEFAULT 0;
DROP INDEX result_counts_of_everybody;
CREATE INDEX result_counts_of_everybody ON result_counts (org_id, template_id, day) INCLUDE (shift, control, external,
    copy_id, assigned, written, sent, delivered, opened, machine_opened, clicked, bot_clicked, unsubscribed, spam,
    driven_away) WHERE attr = '';

-- In another zone every day is another one. Days whose generations are gone stay as they were counted.
CREATE FUNCTION recount_in_zone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE result_days SET revision = revision + 1 WHERE org_id = NEW.org_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER orgs_zone_changed AFTER UPDATE OF time_zone ON orgs
    FOR EACH ROW WHEN (coalesce(OLD.time_zone, 'UTC') <> coalesce(NEW.time_zone, 'UTC'))
    EXECUTE FUNCTION recount_in_zone();

-- What emails showed is read from the index alone: rows of one span lie on as many pages as there are templates. Vacuum
-- comes earlier than it would by itself, since what it has not seen is read from the table after all.
CREATE INDEX shown_counts_read ON shown_counts (org_id, span, at, because)
    INCLUDE (shown, template_id, decision, outcome, emails, seen);
ALTER TABLE shown_counts SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);

-- Examples of a rare reason are looked for by their reason, not among all generations of a quarter hour. Few writes end so.
CREATE INDEX write_outcomes_missed ON write_outcomes (org_id, (coalesce(reason, outcome)), at)
    WHERE outcome NOT IN ('written', 'cleared', 'nothing_to_clear');

SET LOCAL ROLE justai_worker;  -- the owner sees no rows
UPDATE result_days d SET revision = revision + 1 FROM orgs o
WHERE o.org_id = d.org_id AND coalesce(o.time_zone, 'UTC') <> 'UTC';
RESET ROLE;
