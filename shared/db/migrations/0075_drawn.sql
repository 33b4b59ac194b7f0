-- The variant that was drawn where its copy could not be rendered, so that the person got control content: a variant is
-- judged by everybody that it was drawn for. Its probability stands in `probabilities`, as for any draw; `propensity`
-- stays null, as exports tell it of what was shown. Null: `copy_id` says what was drawn, or nothing was; or a release
-- before decided, which does not tell.
ALTER TABLE generations ADD COLUMN drawn_copy_id uuid;
