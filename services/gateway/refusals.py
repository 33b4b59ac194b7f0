"""What was refused for good, told to the org: Klaviyo skips a person after a 4xx and says so to nobody.

Anybody can call the address: nothing of what was sent is kept, and the store names no flow but the org's.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from services.gateway.tally import Count, Tally

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what a slug or a flow's id may be; the rest is nobody's


class Kind(NamedTuple):
    """What is counted together. `flow_id`: as the request said; empty where it did not."""

    org_slug: str
    flow_id: str
    code: str


class RefusalStore(Protocol):
    """Where counts are added up."""

    async def count_refused(self, refused: Mapping[Kind, Count]) -> None:
        """Add them to the orgs' own. Raises Outage or Transient."""


class Refusals(Tally[Kind]):
    """By org, flow and code."""

    def __init__(self, store: RefusalStore) -> None:
        super().__init__("refusals", store.count_refused)

    def note(self, org_slug: str, flow_id: str, code: str, now: datetime) -> None:
        """One more, of an org that may not be there and of a flow that may not be its own."""
        if _ID.fullmatch(org_slug):
            self.count(Kind(org_slug, flow_id if _ID.fullmatch(flow_id) else "", code), now)
