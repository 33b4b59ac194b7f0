"""Waiting for what other processes do, and telling how far it is."""

import asyncio
from collections.abc import Awaitable, Callable

_PATIENCE_S = 180.0  # real: no act takes longer, or the story fails
_POLL_S = 0.25

Show = Callable[[str, int, int], None]
"""Progress for people: what is going on, how much of it, of how much."""


async def until(reached: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return when it is so; raises RuntimeError when it does not become so."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not await reached():  # noqa: ASYNC110  # other processes set no event of ours
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise RuntimeError(f"{what} did not come to its end within {_PATIENCE_S:g} s; see the logs") from None
