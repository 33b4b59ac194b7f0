"""What goes wrong with one org's rows ends nobody else's work: runners go on."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from services.ingest.attribution.recounter import Recounter
from services.ingest.attribution.recounts import RecountRunner
from services.ingest.attribution.unmatched import Retrier
from services.ingest.counting.results import Counter
from services.ingest.counting.shown import ShownCounter
from shared.clock import SystemClock
from shared.errors import Outage

TICK = timedelta(milliseconds=1)
Look = Callable[[], Awaitable[None]]


class Works:
    """Whatever a runner asks for first is one look; the rest has nothing to do."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def asked(*_: object) -> bool:
            if name in ("open_days", "take_marks", "follow", "try_one", "recount_some"):
                await self._look()
            return False

        return asked


def recounter(look: Look) -> Recounter:
    async def recount() -> None:
        await look()

    return Recounter(recount, SystemClock(), TICK)


RUNNERS: dict[str, Callable[[Look], Any]] = {
    "counter": lambda look: Counter(Works(look), SystemClock(), TICK),  # type: ignore[arg-type]  # it answers anything
    "shown": lambda look: ShownCounter(Works(look), SystemClock(), TICK),  # type: ignore[arg-type]  # the same
    "retrier": lambda look: Retrier(Works(look), SystemClock(), TICK),  # type: ignore[arg-type]  # the same
    "recounter": recounter,
    "recounts": lambda look: RecountRunner(Works(look), SystemClock(), TICK),  # type: ignore[arg-type]  # the same
}


@pytest.mark.parametrize("name", RUNNERS)
async def test_a_runner_goes_on_after_what_nobody_foresaw_as_after_an_outage(name: str) -> None:
    stop, looks = asyncio.Event(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            stop.set()
        raise [OverflowError("a sum of one org"), Outage("the database is away"), KeyError("x")][looks - 1]

    async with asyncio.timeout(30):
        await RUNNERS[name](look).run(stop)

    assert looks == 3
