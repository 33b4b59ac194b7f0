"""A limit of a handler's own for long jobs: it strikes before the consumer's, which tells the job nothing."""

import asyncio
from collections.abc import Awaitable

from shared.errors import Transient
from shared.messaging.topology import QueueSpec

_TO_GIVE_BACK_S = 60  # what was begun is taken back meanwhile, and the job's row says why


def limit_of(spec: QueueSpec) -> float:
    """Real seconds that one job of this queue may take."""
    return spec.handler_timeout_s - _TO_GIVE_BACK_S


async def in_time(work: Awaitable[None], limit_s: float, done: str, *, hint: str) -> None:
    """What is never done in time has its attempts too, or it would be begun again for ever. Raises Transient, saying
    that it was not `done` in how many minutes, and the `hint`."""
    try:
        async with asyncio.timeout(limit_s) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise Transient(f"not {done} within {limit_s / 60:.0f} minutes; {hint}", reason="too_long") from None
