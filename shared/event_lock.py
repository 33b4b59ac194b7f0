"""The lock of one org's events and sends: whoever adds, changes or deletes any holds it until the commit.

Several orgs go on at once; within one, two transactions could each miss what the other is about to commit, and sums
that were made before would be written over what was made since.
"""

LOCK_ORG = "SELECT pg_advisory_xact_lock(hashtextextended('ingest:' || $1, 0))"
