"""Where an org's records go: the bucket, its hours, what its account must allow, and what loads it."""
