"""What is looked after beside the turns: changed integrations and forgotten accounts."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from services.profile_writer.upkeep.move_store import MoveStore
from services.profile_writer.upkeep.store import UpkeepStore
from shared import logs
from shared.clock import Clock, first_of
from shared.errors import Transient

log = logs.get(__name__)

_EVERY_S = 10.0  # real: the net below everything that should have been noticed by itself
_RETRY_S = 0.5


class Upkeep:
    """`run` until stopped; `changed` when an org's integration was."""

    def __init__(self, store: UpkeepStore, moves: MoveStore, clock: Clock, *, wake: Callable[[], None]) -> None:
        self._store, self._moves, self._clock, self._wake = store, moves, clock, wake
        self._due = asyncio.Event()
        self._changed: set[UUID | None] = {None}  # at the start nobody knows what was missed

    def changed(self, org_id: UUID | None) -> None:
        """An org's integration is another one now; None: perhaps any. A new key ends a pause, and may name another
        quota."""
        self._changed.add(org_id)
        self._due.set()

    async def run(self, stop: asyncio.Event) -> None:
        """A runner."""
        while not stop.is_set():
            self._due.clear()
            done = [await self._tried(work) for work in (self._follow_changes, self._look_after)]
            if all(done):
                await first_of(stop.wait(), self._due.wait(), within_s=_EVERY_S)
            else:
                await first_of(stop.wait(), within_s=_RETRY_S)

    async def _tried(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Each by itself: a move that takes too long must not keep what was forgotten waiting."""
        try:
            await work()
        except Transient as error:
            log.warning("upkeep.failed", what=work.__name__.lstrip("_"), reason=error.reason)
            return False
        except Exception as error:  # of one account's rows; the others' writes must not end with it
            log.error("upkeep.failed", what=work.__name__.lstrip("_"), reason="unexpected", exc_info=error)
            return False
        return True

    async def _follow_changes(self) -> None:
        if not self._changed:
            return
        changed, self._changed = self._changed, set()
        now, left = self._clock.now(), 1
        try:
            await self._store.end_pauses(now)
            self._wake()
            orgs = {None} if None in changed else changed
            for one in orgs:
                await self._store.wake_roads(one, now)
            left = sum([await self._moves.follow_accounts(one, now) for one in orgs])
            self._wake()
        finally:
            if left:  # what is in flight follows next time
                self._changed |= changed

    async def _look_after(self) -> None:
        await self._store.wake_forgotten(self._clock.now())
        self._wake()
