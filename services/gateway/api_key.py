"""What is known of one API key."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.gateway.errors import Refused

SCOPE = "generate"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One stored key with its org. The key itself is not here, nor anywhere else."""

    key_id: UUID
    org_id: UUID
    org_slug: str
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None

    def check(self, now: datetime) -> None:
        """Raise Refused unless the key may generate now."""
        if self.revoked_at is not None:  # whatever the moment: clocks of two machines differ a little
            raise Refused("revoked_api_key")
        if self.expires_at is not None and self.expires_at <= now:
            raise Refused("expired_api_key")
        if SCOPE not in self.scopes:
            raise Refused("missing_scope")
