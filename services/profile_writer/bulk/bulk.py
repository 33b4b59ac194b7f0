"""The bulk road's runner: which account is looked at, and when again.

A look first follows the jobs that are on their way, then makes new ones if single writes cannot carry what waits. One
worker at a time looks at an account; the rest is as with turns: rows are taken in one transaction, sent without any,
settled in another.
"""

import asyncio
from datetime import datetime, timedelta

from services.profile_writer.bulk.following import Following
from services.profile_writer.bulk.making import Making
from services.profile_writer.bulk.store import BulkStore
from shared import logs
from shared.clock import Clock, first_of
from shared.errors import Transient

log = logs.get(__name__)

_LOOK_S = 1.0
"""Real seconds between looks for an account that is due; another replica may have taken writes in."""

_FAILED_S = 5.0


class BulkRoad:
    """`run` until stopped."""

    def __init__(
        self, store: BulkStore, making: Making, following: Following, clock: Clock, *, side_by_side: int
    ) -> None:
        self._store, self._making, self._following, self._clock = store, making, following, clock
        self._places = asyncio.Semaphore(side_by_side)

    async def run(self, stop: asyncio.Event) -> None:
        """A runner. Looks under way are finished."""
        async with asyncio.TaskGroup() as looks:
            while not stop.is_set():
                await self._places.acquire()
                claimed = await self._claim()
                if claimed is not None:
                    looks.create_task(self._look(*claimed), name=f"bulk road of {claimed[0]}")
                    continue
                self._places.release()
                await self._wait(stop)

    async def _claim(self) -> tuple[str, datetime] | None:
        try:
            return await self._store.claim(self._clock.now())
        except Transient as error:
            log.warning("bulk.not_claimed", reason=error.reason)
            return None

    async def _look(self, account_key: str, held_until: datetime) -> None:
        """Whatever goes wrong with one account ends with it; another look comes."""
        look_at: datetime | None = self._clock.now() + timedelta(seconds=_FAILED_S)
        try:
            look_at = await self._see(account_key, held_until)
        except Transient as error:
            log.warning("bulk.look_failed", account_key=account_key, reason=error.reason)
        except Exception as error:  # one account must not stop the others
            log.error("bulk.look_failed", account_key=account_key, exc_info=error)
        finally:
            try:
                await self._store.release(account_key, held_until, look_at)
            except Transient as error:  # its hold ends by itself
                log.warning("bulk.not_released", account_key=account_key, reason=error.reason)
            self._places.release()

    async def _see(self, account_key: str, held_until: datetime) -> datetime | None:
        """One look; when the next is due, None when nothing waits and no job is on its way."""
        road = await self._store.road(account_key, held_until, self._clock.now())
        looks: list[datetime | None] = []
        if road.jobs or road.doubted:
            looks.append(await self._following.follow(road, self._clock.now()))
            road = await self._store.road(account_key, held_until, self._clock.now())
        looks.append(await self._making.make(road, self._following.prove))
        return min((look_at for look_at in looks if look_at is not None), default=None)

    async def _wait(self, stop: asyncio.Event) -> None:
        due_in_s = _LOOK_S
        try:
            due_at = await self._store.next_look()
        except Transient:
            due_at = None
        if due_at is not None:
            due_in_s = max(0.05, (due_at - self._clock.now()).total_seconds())
        await first_of(self._clock.sleep(due_in_s), stop.wait(), within_s=_LOOK_S)
