"""The runner that makes a stop reach what is queued and what is on profiles, as soon as it is heard of."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import groupby, islice
from uuid import UUID

from services.profile_writer.rows import Key
from services.profile_writer.stops import Stop, Stops
from services.profile_writer.upkeep.sweep_store import PIECE, Found, SweepStore
from shared import logs
from shared.clock import Clock, first_of
from shared.errors import Transient

log = logs.get(__name__)

# Real seconds.
_EVERY_S = 10.0  # a stop that no notification told of is found then; until then the last gate alone keeps it
_AGAIN_S = 30.0  # everything that is stopped is swept again: rows may have moved, or fallen back to a later lane
_LANDING_S = 0.2  # between looks at what is in flight
_RETRY_S = 0.5
_REST_MAX_S = 0.5
_PIECES_AT_ONCE = 2  # of all orgs together: connections are shared with turns and intake


class Sweeper:
    """`run` until stopped; `changed` when a template or an org was; `stops` is what was heard of last."""

    def __init__(self, store: SweepStore, clock: Clock, *, wake: Callable[[], None]) -> None:
        self._store, self._clock, self._wake = store, clock, wake
        self._due = asyncio.Event()
        self._heard = Stops()
        self._swept: frozenset[Stop] = frozenset()
        self._under_way: frozenset[Stop] = frozenset()
        self._again_at_s = 0.0
        self._pieces = asyncio.Semaphore(_PIECES_AT_ONCE)

    def stops(self) -> Stops:
        """What is stopped, as far as was heard; another object after each look."""
        return self._heard

    def changed(self, _org_id: UUID | None) -> None:
        """Look at once."""
        self._due.set()

    async def run(self, stop: asyncio.Event) -> None:
        """A runner."""
        async with asyncio.TaskGroup() as sweeps:
            while not stop.is_set():
                self._due.clear()
                try:
                    for org_id, stops in _by_org(await self._to_sweep()):
                        self._under_way |= stops
                        sweeps.create_task(self._sweep(org_id, stops, stop), name=f"sweep of {org_id}")
                except Transient as error:
                    log.warning("stops.not_read", reason=error.reason)
                    await first_of(stop.wait(), within_s=_RETRY_S)
                else:
                    await first_of(stop.wait(), self._due.wait(), within_s=_EVERY_S)

    async def _to_sweep(self) -> frozenset[Stop]:
        stops = await self._store.stops()
        self._heard = Stops.of(stops)
        self._swept &= stops
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._again_at_s:
            self._swept, self._again_at_s = frozenset(), now_s + _AGAIN_S
        return stops - self._swept - self._under_way

    async def _sweep(self, org_id: UUID, stops: frozenset[Stop], stop: asyncio.Event) -> None:
        """A task of its own: a million rows of one org must not keep the next stop waiting."""
        try:
            if (account_key := await self._store.account_key(org_id)) is not None:
                await self._sweep_account(account_key, org_id, Stops.of(stops), stop)
            self._swept |= stops
        except Transient as error:
            log.warning("sweep.interrupted", org_id=org_id, reason=error.reason)
            asyncio.get_running_loop().call_later(_RETRY_S, self._due.set)
        except Exception as error:  # one org's sweep must not stop the others'; it is tried again with the next look
            log.error("sweep.failed", org_id=org_id, exc_info=error)
        finally:
            self._under_way -= stops

    async def _sweep_account(self, account_key: str, org_id: UUID, stops: Stops, stop: asyncio.Event) -> None:
        """What profiles hold first, because only that can still be seen; then what waits; then what was in flight."""
        await self._store.let_pass(account_key)
        in_flight: set[Key] = set()
        keys = 0
        for page in (self._store.held, self._store.pending):
            after: Key | None = None
            while not stop.is_set():
                found = await page(account_key, org_id, stops, after, self._clock.now())
                if not found:
                    break
                in_flight |= await self._piece(account_key, org_id, found)
                keys, after = keys + len(found), [*found][-1]
        if keys:
            log.info("sweep.done", org_id=org_id, keys=keys, in_flight=len(in_flight))
        while in_flight and not stop.is_set():
            await first_of(stop.wait(), within_s=_LANDING_S)
            in_flight = await self._landed(account_key, org_id, in_flight)

    async def _landed(self, account_key: str, org_id: UUID, keys: Iterable[Key]) -> set[Key]:
        """Look again at these; returns those that are in flight still."""
        left, rest = set[Key](), iter(sorted(keys))
        while some := dict.fromkeys(islice(rest, PIECE)):
            left |= await self._piece(account_key, org_id, some)
        return left

    async def _piece(self, account_key: str, org_id: UUID, found: Found) -> set[Key]:
        """One transaction, and a rest as long as it took: the turns that clear the profiles must get in between."""
        loop = asyncio.get_running_loop()
        async with self._pieces:
            started_s = loop.time()
            in_flight = await self._store.sweep(account_key, org_id, found, self._clock.now())
        self._wake()
        await asyncio.sleep(min(_REST_MAX_S, loop.time() - started_s))
        return in_flight


def _by_org(stops: Iterable[Stop]) -> Iterable[tuple[UUID, frozenset[Stop]]]:
    def of(stop: Stop) -> UUID:
        return stop.org_id

    return [(org_id, frozenset(group)) for org_id, group in groupby(sorted(stops, key=of), key=of)]
