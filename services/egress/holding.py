"""An hour that is ours as long as its lease is prolonged, and given back when it is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from services.egress.model import Lease, Superseded
from shared.clock import Clock
from shared.errors import Failure
from shared.messaging.verdict import describe

_GIVE_BACK_TIMEOUT_S = 5.0


class Leases(Protocol):
    """What a hold asks of the ledger; see store.Store."""

    async def renew(self, lease: Lease, until: datetime) -> bool: ...
    async def fail(self, lease: Lease, state: Literal["pending", "blocked"], error: str) -> None: ...
    async def look_again(self, lease: Lease, at: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Hold:
    """One hour's lease, of `lease_s` virtual seconds at a time."""

    lease: Lease
    leases: Leases
    clock: Clock
    lease_s: float

    async def demand(self) -> None:
        """Raise Superseded unless the hour is still ours; asked right before every write. What may be written between
        the answer and the write is covered by the write naming what it replaces, and by `changing`."""
        if not await self._renew():
            raise Superseded("the hour was claimed again while it was being exported")

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Around the change of one object. It is refused where another object lies by now, but not where all is as it
        was: the hour may have become empty before anything lay there, or whoever had it meanwhile found the old object
        right and wrote nothing. Rows that were deleted would then lie there to stay. So we ask once more when it is
        done, and whoever has the hour by then is to look again."""
        await self.demand()
        try:
            yield
        except Superseded:  # refused: nothing was changed
            raise
        except BaseException:
            await self._look_again()
            raise
        try:
            await self.demand()  # who claims the hour after this finds the change
        except BaseException:
            await self._look_again()
            raise

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """The lease is prolonged while the block runs. A renewal that fails is left to `demand` to notice."""

        async def renew() -> None:
            while True:
                await self.clock.sleep(self.lease_s / 3)
                with suppress(Failure):
                    await self._renew()

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def give_back(self, error: BaseException) -> None:
        """Best effort: a lease that is not given back runs out."""
        with suppress(Failure, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S):
                await self.leases.fail(self.lease, "pending", describe(error))

    async def _look_again(self) -> None:
        """Best effort."""
        with suppress(Failure, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S):
                await self.leases.look_again(self.lease, self.clock.now())

    async def _renew(self) -> bool:
        return await self.leases.renew(self.lease, self.clock.now() + timedelta(seconds=self.lease_s))
