"""Results of a template: its numbers, its charts, and the emails behind a number."""
