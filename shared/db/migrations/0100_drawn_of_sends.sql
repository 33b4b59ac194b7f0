-- The variant that was drawn where its copy could not be rendered, as the generation says it (0075): the ranker's facts
-- outlive days of generations (JUSTAI_EGRESS_KEEP_DAYS). Null: `copy_id` says what was drawn, or nothing was; or a
-- release before attributed it, and its generation tells while it is there. Those rows are not filled here, which would
-- read all generations: `justai org recount` does it, a day at a time.
ALTER TABLE sends ADD COLUMN drawn_copy_id uuid;

-- As in 0040, and what was drawn stays too.
CREATE OR REPLACE FUNCTION keep_attribution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM dropped_days WHERE day = OLD.generation_day) THEN
        NEW.attribution := OLD.attribution;
        NEW.generation_id := OLD.generation_id;
        NEW.generation_day := OLD.generation_day;
        NEW.template_id := OLD.template_id;
        NEW.copy_id := OLD.copy_id;
        NEW.cell := OLD.cell;
        NEW.drawn_copy_id := OLD.drawn_copy_id;
    END IF;
    RETURN NEW;
END
$$;
