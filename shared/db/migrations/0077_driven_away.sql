-- What the guardrail says of a template by which more people leave than by its control, whoever was sent what; null:
-- nothing. Written before each fit; a release before leaves it as it is.
ALTER TABLE policy_fits ADD COLUMN driven_away text;
