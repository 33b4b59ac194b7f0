"""Reads again, every hour, the flows that copy is written for.

The delay in the flow says by when a write must be there and until when it has to stay. A marketer who changes it in
Klaviyo presses no button of ours. A runner of its own: what it waits for keeps no comparison waiting, and what is wrong
with it neither.

Any number of replicas may run it: who tries has claimed.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from services.ingest.reconciling.flow_store import DueFlows, KeptFlows
from shared import logs
from shared.clock import Clock
from shared.crypto import KeyRing, SealError
from shared.errors import Failure, Outage, Transient
from shared.klaviyo.flows import FlowMessage, FlowReader, living_flows, read_flow
from shared.stepper import one_after_another

log = logs.get(__name__)

MOST_FLOWS: Final = 50
"""Of one org at a time. Each is a question, and each of its emails another; Klaviyo answers 60 of a kind a minute, of
everybody who reads the account."""
LONGEST_S: Final = 600.0
"""Real, for one org; then the next has its turn. What was read by then counts."""
_AT_ONCE: Final = 3  # orgs, each at its own account's pace


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
        longest_s: float = LONGEST_S,
    ) -> None:
        """`reader_of` makes a reader of base URL and private key."""
        self._kept, self._reader_of, self._ring = kept, reader_of, ring
        self._clock, self._every, self._tick_s, self._longest_s = clock, every, tick_s, longest_s

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; the orgs in hand are read an hour later."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                reading = one_after_another(self.read_one, stop, self._clock, self._tick_s, "flows.interrupted")
                group.create_task(reading)

    async def read_one(self) -> bool:
        """Read the flows of one org that is due. False when none is. Raises Outage."""
        began = self._clock.now()
        due = await self._kept.claim(began, self._every)
        if due is None:
            return False
        with logs.bound(org_id=due.org_id):
            try:
                await self._read(due, began)
            except Outage:
                raise
            except (Failure, SealError) as failure:
                reason = failure.reason if isinstance(failure, Failure) else "sealed"
                log.warning("flows.not_read", reason=reason)
                await self._kept.tell(due.org_id, began, self._clock.now(), str(failure))
            except Exception as error:  # an answer that nobody foresaw; the other orgs' are read
                log.error("flows.not_read", exc_info=error)
                why = f"Klaviyo's answer was not understood: {type(error).__name__}"
                await self._kept.tell(due.org_id, began, self._clock.now(), why)
        return True

    async def _read(self, due: DueFlows, began: datetime) -> None:
        ours = await self._kept.ours(due.org_id)
        reader = self._reader_of(due.base_url, self._ring.open(due.sealed_key, f"{due.org_id}/klaviyo"))
        asked: list[str] = []  # what was found out, those among them that the account has no more
        found: list[FlowMessage] = []
        try:
            async with asyncio.timeout(self._longest_s):
                living = await living_flows(reader)
                there = [flow_id for flow_id in ours if flow_id in living]
                for flow_id in there[:MOST_FLOWS]:
                    found += await read_flow(reader, living[flow_id])
                    asked.append(flow_id)
        except TimeoutError:
            if not asked:
                raise Transient("Klaviyo did not answer in time", reason="too_long") from None
            log.warning("flows.not_all_read", flows=len(asked))
        asked += [flow_id for flow_id in ours if flow_id not in living]
        if await self._kept.keep(due.org_id, found, asked, began, self._clock.now()):
            log.info("flows.read", flows=len(asked), emails=len(found))
