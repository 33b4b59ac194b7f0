"""Where event files come from, what became of them, and where an event comes from."""
