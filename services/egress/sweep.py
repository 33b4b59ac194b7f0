"""Ends uploads in parts that a crash, or a lost answer, left half way: nobody sees them, and they cost money."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

from services.egress.layout import is_ours
from services.egress.model import Target
from shared import logs
from shared.clock import Clock
from shared.errors import Failure, Outage
from shared.stepper import Stepper

log = logs.get(__name__)

OLDER_THAN_S = 24 * 3600.0
"""Real seconds, by the clock of the S3 server. No upload of ours takes so long."""
SWEEP_EVERY = timedelta(hours=6)
_BUCKET_S = 600.0  # real; a slow server keeps no other bucket waiting for longer


class Sweepable(Protocol):
    """See s3.Bucket."""

    async def sweep(self, prefix: str, ours: Callable[[str], bool], older_than_s: float) -> int: ...


class Targets(Protocol):
    """See store.Store."""

    async def orgs_with_target(self) -> Sequence[UUID]: ...
    async def target(self, org_id: UUID) -> Target: ...


class Sweeper(Stepper):
    """A runner. Replicas that sweep at once abort the same uploads, which is harmless."""

    failed = "uploads.look_failed"

    def __init__(self, targets: Targets, bucket: Callable[[Target], Awaitable[Sweepable]], clock: Clock) -> None:
        super().__init__(clock, SWEEP_EVERY)
        self._targets, self._bucket = targets, bucket

    async def step(self) -> None:
        """See Stepper."""
        await self.sweep()

    async def sweep(self) -> int:
        """Every target once; how many uploads were ended. A bucket that does not allow it is left to its own rule."""
        swept = 0
        for org_id in await self._targets.orgs_with_target():
            with logs.bound(org_id=org_id):
                try:
                    found = await self._sweep(org_id)
                except Outage:
                    raise
                except Failure as error:
                    log.info("uploads.not_swept", reason=error.reason, error=str(error))
                    continue
                except Exception as error:  # whatever one customer's server answers, the others' are swept
                    log.error("uploads.not_swept", exc_info=error)
                    continue
                if found:
                    log.warning("uploads.swept", uploads=found)
                swept += found
        return swept

    async def _sweep(self, org_id: UUID) -> int:
        target = await self._targets.target(org_id)
        folder = f"{target.prefix}/" if target.prefix else ""
        async with asyncio.timeout(_BUCKET_S):  # the rest is for the next sweep
            bucket = await self._bucket(target)
            return await bucket.sweep(folder, partial(is_ours, target.prefix), OLDER_THAN_S)
