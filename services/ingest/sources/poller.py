"""Looks into every source's folder when it is due, and queues the files that have stopped changing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from services.ingest.records import Listed, Listing, Source, SourceRefused, SourceUnreachable
from shared import logs
from shared.clock import Clock, first_of
from shared.errors import Failure
from shared.schemas.jobs import IngestFileJob

log = logs.get(__name__)

MOST_ON_THEIR_WAY: Final = 32
"""Files of one source that are queued or loading. All sources share one queue, in the order in which files were queued:
so many of one are ahead of another's next file at the most, and half as many are there for whoever has time. The 8
replicas to which the production overlay grows have 16 files in hand, and it grows by one for each 4 that are queued."""


class Folder(Protocol):
    async def list(self) -> Listing: ...


class Servers(Protocol):
    def open(self, source: Source) -> AbstractAsyncContextManager[Folder]: ...


class Sources(Protocol):
    async def take_poll_slot(self, now: datetime) -> Source | None: ...
    async def poll_succeeded(self, source: Source, listing: Listing, now: datetime) -> None: ...
    async def poll_failed(self, source: Source, error: str, now: datetime, *, refused: bool) -> None: ...


class Ledger(Protocol):
    async def record_listing(self, source: Source, listing: Sequence[tuple[UUID, Listed]], now: datetime) -> None: ...
    async def read_again(self, source: Source, files: Sequence[Listed], now: datetime) -> None: ...
    async def candidates(
        self, source: Source, now: datetime, *, stable: timedelta, requeue: timedelta, most: int
    ) -> list[UUID]: ...
    async def mark_queued(self, org_id: UUID, file_id: UUID, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """Virtual times; `parallel` folders are listed at once, so one silent server holds up few others."""

    tick_s: float
    stable: timedelta
    requeue: timedelta
    parallel: int


class Poller:
    """A runner. Replicas share the sources: each takes those that are due and not taken."""

    def __init__(
        self,
        sources: Sources,
        ledger: Ledger,
        servers: Servers,
        publish: Callable[[IngestFileJob], Awaitable[None]],
        clock: Clock,
        new_id: Callable[[], UUID],
        pace: Pace,
    ) -> None:
        self._sources, self._ledger, self._servers = sources, ledger, servers
        self._publish, self._clock, self._new_id, self._pace = publish, clock, new_id, pace

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; the folders in hand are finished."""
        async with asyncio.TaskGroup() as lanes:
            for lane in range(self._pace.parallel):
                lanes.create_task(self._run_lane(stop), name=f"poll {lane}")

    async def _run_lane(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                polled = await self.poll_one()
            except Failure as failure:  # the database or the broker is away; the slot comes again
                log.warning("poll.interrupted", reason=failure.reason)
                polled = False
            if not polled:
                await first_of(self._clock.sleep(self._pace.tick_s), stop.wait())

    async def poll_one(self) -> bool:
        """Look into one folder that is due. False when none is."""
        source = await self._sources.take_poll_slot(self._clock.now())
        if source is None:
            return False
        with logs.bound(org_id=source.org_id, source_id=source.source_id):
            why = "the server answers with something that nobody foresaw"
            try:
                now = self._clock.now()  # before the listing: what it shows was so then, or later
                async with self._servers.open(source) as folder:
                    listing = await folder.list()
                why = "the listing cannot be recorded"
                await self._take_in(source, listing, now)
            except (SourceUnreachable, SourceRefused) as trouble:
                log.warning("source.failed", reason=trouble.reason)
                refused = isinstance(trouble, SourceRefused)
                await self._sources.poll_failed(source, str(trouble), self._clock.now(), refused=refused)
            except Failure:
                raise
            except Exception as error:  # whatever one customer's server answers, the others' folders are listed
                log.error("source.failed", exc_info=error)
                told = f"{why}: {type(error).__name__}"
                await self._sources.poll_failed(source, told, self._clock.now(), refused=False)
        return True

    async def _take_in(self, source: Source, listing: Listing, now: datetime) -> None:
        files = [(self._new_id(), file) for file in dict.fromkeys(listing.files)]
        await self._ledger.record_listing(source, files, now)
        if source.reread:
            await self._ledger.read_again(source, [file for _, file in files], now)
        await self._sources.poll_succeeded(source, listing, now)
        queued = await self.queue_some(source, now)
        log.info("source.listed", files=len(listing.files), ignored=listing.ignored, queued=queued)

    async def queue_some(self, source: Source, now: datetime) -> int:
        """How many of its files were queued: as many as may be on their way, of those that are to be read. Also for
        whoever has loaded one, so that the others do not wait for a listing. Raises Failure."""
        ready = await self._ledger.candidates(
            source, now, stable=self._pace.stable, requeue=self._pace.requeue, most=MOST_ON_THEIR_WAY
        )
        for file_id in ready:
            # Publish, then note it: a crash in between queues the file twice, and the second message finds it done.
            await self._publish(IngestFileJob(org_id=source.org_id, source_id=source.source_id, file_id=file_id))
            await self._ledger.mark_queued(source.org_id, file_id, now)
        return len(ready)
