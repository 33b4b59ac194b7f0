"""Results of templates, what another policy would have earned, and the emails behind a number."""
