"""What was refused for good, told to the org: Klaviyo skips a person after a 4xx and says so to nobody.

Counted in memory and stored every few seconds, so that a flood of bad requests costs the database a row for each
kind of them. Anybody can call the address: nothing of what was sent is kept, and the store names no flow but the org's.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from shared import logs
from shared.clock import first_of
from shared.errors import Failure

log = logs.get(__name__)

STORE_EVERY_S: Final = 5.0
MOST_KINDS: Final = 1_000
"""Kept between two times of storing; whoever makes up slugs and flows by the thousand goes uncounted."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what a slug or a flow's id may be; the rest is nobody's


class Kind(NamedTuple):
    """What is counted together. `flow_id`: as the request said; empty where it did not."""

    org_slug: str
    flow_id: str
    code: str


@dataclass(slots=True)
class Count:
    """How many of a kind, and when the last one came."""

    webhooks: int
    last_at: datetime


class RefusalStore(Protocol):
    """Where counts are added up."""

    async def count_refused(self, refused: Mapping[Kind, Count]) -> None:
        """Add them to the orgs' own. Raises Outage or Transient."""


class Refusals:
    """Counts until they are stored; those that could not be wait for the next time."""

    def __init__(self, store: RefusalStore) -> None:
        self._store = store
        self._counted: dict[Kind, Count] = {}

    def note(self, org_slug: str, flow_id: str, code: str, now: datetime) -> None:
        """One more, of an org that may not be there and of a flow that may not be its own."""
        if not _ID.fullmatch(org_slug):
            return
        kind = Kind(org_slug, flow_id if _ID.fullmatch(flow_id) else "", code)
        count = self._counted.get(kind)
        if count is not None:
            count.webhooks += 1
            count.last_at = max(count.last_at, now)
        elif len(self._counted) < MOST_KINDS:
            self._counted[kind] = Count(1, now)

    async def run(self, stop: asyncio.Event) -> None:
        """Store what was counted every few seconds, and once more at the end."""
        while not stop.is_set():
            await first_of(stop.wait(), within_s=STORE_EVERY_S)
            await self.store()

    async def store(self) -> None:
        """What was counted since the last time."""
        if not self._counted:
            return
        counted, self._counted = self._counted, {}
        try:
            await self._store.count_refused(counted)
        except Failure as failure:
            log.warning("refusals.not_stored", reason=failure.reason, kinds=len(counted))
            self._take_back(counted)

    def _take_back(self, counted: Mapping[Kind, Count]) -> None:
        for kind, count in counted.items():
            newer = self._counted.get(kind)
            if newer is None:
                self._counted[kind] = count
            else:
                newer.webhooks += count.webhooks
