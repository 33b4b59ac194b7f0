"""How long an email that shows no generation yet is tried again. Ingest tries
(services/ingest/attribution/unmatched.py), people are told (shared/admin/sources/unmatched.py)."""

from typing import Final

KEPT_DAYS: Final = 7
"""After its own day of sending (UTC) an email is tried again for so many days more."""
