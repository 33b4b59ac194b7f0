"""Counts that wait in memory until they are stored, every few seconds: a flood of one kind costs the database a row."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from shared import logs
from shared.clock import first_of
from shared.errors import Failure

log = logs.get(__name__)

STORE_EVERY_S: Final = 5.0
MOST_KINDS: Final = 1_000
"""Kept between two times of storing; whoever makes up kinds by the thousand goes uncounted."""

Kind = TypeVar("Kind")


@dataclass(slots=True)
class Count:
    """How many of a kind, and when the last one came."""

    webhooks: int
    last_at: datetime


class Tally(Generic[Kind]):
    """Counts until they are stored; those that could not be wait for the next time."""

    def __init__(self, name: str, add: Callable[[Mapping[Kind, Count]], Awaitable[None]]) -> None:
        """`add`: adds them to what is stored; raises Outage or Transient."""
        self._name, self._add = name, add
        self._counted: dict[Kind, Count] = {}

    def count(self, kind: Kind, now: datetime) -> None:
        """One more."""
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
            await self._add(counted)
        except Failure as failure:
            log.warning("tally.not_stored", of=self._name, reason=failure.reason, kinds=len(counted))
            self._take_back(counted)
        except Exception as error:  # a runner that ended would end its service
            log.error("tally.not_stored", of=self._name, kinds=len(counted), exc_info=error)
            self._take_back(counted)

    def _take_back(self, counted: Mapping[Kind, Count]) -> None:
        for kind, count in counted.items():
            newer = self._counted.get(kind)
            if newer is None:
                self._counted[kind] = count
            else:
                newer.webhooks += count.webhooks
