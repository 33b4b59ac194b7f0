"""An org of the rig that is connected to an account in a box."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import aiohttp

from services.ingest.reconciling.flow_store import KeptFlows
from services.ingest.reconciling.flows import LONGEST_S, FlowWatch
from services.ingest.reconciling.reconciler import Reconciler
from services.ingest.reconciling.store import Comparisons
from shared.clock import FrozenClock
from shared.crypto import KeyRing
from shared.klaviyo.client import FlowAction, KlaviyoClient
from shared.klaviyo.reports import Reports
from simulator.account import Account, PrivateKey
from simulator.api.operations import PAGE_SCOPES
from simulator.app import serving
from simulator.settings import SimulatorSettings
from simulator.world import World
from tests.component.ingest.given import SENT
from tests.component.ingest.rig import RING, Rig


class Hurrying:
    """The box's clock for an impatient caller: it sleeps by moving that clock on."""

    def __init__(self, clock: FrozenClock) -> None:
        self._clock = clock
        self.now, self.monotonic = clock.now, clock.monotonic

    async def sleep(self, seconds: float) -> None:
        self._clock.advance(max(0.0, seconds))
        await asyncio.sleep(0)


class Stuck(KlaviyoClient):
    """Never gets an answer about these flows."""

    of: Collection[str] = ()

    async def flow_actions(self, flow_id: str) -> list[FlowAction]:
        if flow_id in self.of:
            await asyncio.Event().wait()
        return await super().flow_actions(flow_id)


@dataclass
class Boxed:
    """The box, the rig's org in it, and how often each operation was called."""

    rig: Rig
    world: World
    account: Account
    key: PrivateKey
    url: str
    session: aiohttp.ClientSession

    def reconciler(self) -> Reconciler:
        clock = Hurrying(self.rig.clock)
        return Reconciler(
            Comparisons(self.rig.database), lambda url, key: Reports(self.session, url, key, clock), KeyRing(RING),
            clock, uuid4, every=timedelta(hours=1), tick_s=5,
        )  # fmt: skip

    def flow_watch(self, *, stuck: Collection[str] = (), longest_s: float = LONGEST_S) -> FlowWatch:
        clock = Hurrying(self.rig.clock)

        def reader_of(url: str, key: str) -> KlaviyoClient:
            reader = Stuck(self.session, url, key, clock=clock)
            reader.of = stuck
            return reader

        return FlowWatch(
            KeptFlows(self.rig.database), reader_of, KeyRing(RING), clock, every=timedelta(hours=1), tick_s=5,
            longest_s=longest_s,
        )  # fmt: skip

    def calls(self, operation: str) -> int:
        return sum(one.operation == operation for one in self.world.log.since(0, None, 100_000))

    async def connect(self, org_id: UUID, key: PrivateKey, account_key: str | None = None) -> None:
        """Give an org this key."""
        sealed = KeyRing(RING).seal(key.value, f"{org_id}/klaviyo")
        await self.rig.run(
            "INSERT INTO integrations"
            " (org_id, account_key, base_url, sealed_key, last4, scopes, verified_at, updated_at)"
            " VALUES ($1, $2, $3, $4, 'abcd', $5, $6, $6)"
            " ON CONFLICT (org_id) DO UPDATE SET sealed_key = excluded.sealed_key, scopes = excluded.scopes,"
            " base_url = excluded.base_url",
            org_id, account_key or f"acct:{self.account.id}", self.url, sealed, sorted(key.scopes), SENT,
        )  # fmt: skip

    async def use_key(self, scopes: Iterable[str]) -> None:
        """Give the rig's org a key of these scopes."""
        self.key = self.world.add_key(self.account, scopes)
        await self.connect(self.rig.org_id, self.key)


@asynccontextmanager
async def boxed(
    rig: Rig, scopes: Iterable[str] = PAGE_SCOPES, settings: SimulatorSettings | None = None
) -> AsyncIterator[Boxed]:
    """On the rig's clock; the account's windows begin with its minutes."""
    world = World(rig.clock, settings, 1)
    account = world.add_account("Corner Shop", phase_s=0.0)
    key = world.add_key(account, scopes)
    async with serving(world) as box, aiohttp.ClientSession() as session:
        made = Boxed(rig, world, account, key, box.url, session)
        await made.connect(rig.org_id, key)
        yield made
