"""Reads again, every hour, the flows that copy is written for.

The delay in the flow says by when a write must be there and until when it has to stay. A marketer who changes it in
Klaviyo presses no button of ours. A runner of its own: what it waits for keeps no comparison waiting, and what is wrong
with it neither.

Any number of replicas may run it: who tries has claimed.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from services.ingest.reconciling.flow_store import DueFlows, KeptFlows
from services.ingest.reconciling.reconciler import first_of_two
from shared import logs
from shared.clock import Clock, first_of
from shared.crypto import KeyRing, SealError
from shared.errors import Failure, Outage
from shared.klaviyo.flows import FlowReader, read_flow_messages

log = logs.get(__name__)

MOST_FLOWS: Final = 50
"""Of one org at a time. Klaviyo answers 60 such questions a minute, of everybody who reads the account."""


class FlowWatch:
    """A runner."""

    def __init__(
        self,
        kept: KeptFlows,
        reader_of: Callable[[str, str], FlowReader],
        ring: KeyRing,
        clock: Clock,
        *,
        every: timedelta,
        tick_s: float,
    ) -> None:
        """`reader_of` makes a reader of base URL and private key."""
        self._kept, self._reader_of, self._ring = kept, reader_of, ring
        self._clock, self._every, self._tick_s = clock, every, tick_s

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; the org in hand is read an hour later."""
        while not stop.is_set():
            try:
                done, looked = await first_of_two(self.read_one(), stop)
            except Failure as failure:
                log.warning("flows.interrupted", reason=failure.reason)
                done, looked = True, False
            if done and not looked:
                await first_of(self._clock.sleep(self._tick_s), stop.wait())

    async def read_one(self) -> bool:
        """Read the flows of one org that is due. False when none is. Raises Outage."""
        due = await self._kept.claim(self._clock.now(), self._every)
        if due is None:
            return False
        with logs.bound(org_id=due.org_id):
            try:
                await self._read(due)
            except Outage:
                raise
            except (Failure, SealError) as failure:
                reason = failure.reason if isinstance(failure, Failure) else "sealed"
                log.warning("flows.not_read", reason=reason)
                await self._kept.tell(due.org_id, self._clock.now(), str(failure))
            except Exception as error:  # an answer that nobody foresaw; the other orgs' are read
                log.error("flows.not_read", exc_info=error)
                why = f"Klaviyo's answer was not understood: {type(error).__name__}"
                await self._kept.tell(due.org_id, self._clock.now(), why)
        return True

    async def _read(self, due: DueFlows) -> None:
        began = self._clock.now()
        only = await self._kept.ours(due.org_id, MOST_FLOWS)
        key = self._ring.open(due.sealed_key, f"{due.org_id}/klaviyo")
        found = await read_flow_messages(self._reader_of(due.base_url, key), only)
        if await self._kept.keep(due.org_id, found, only, began, self._clock.now()):
            log.info("flows.read", flows=len(only), emails=len(found))
