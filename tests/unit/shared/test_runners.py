"""What goes wrong with one org's rows ends nobody else's work: runners go on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.egress.retention import Retention
from services.egress.scheduler import Scheduler
from services.egress.sweep import Sweeper
from services.gateway import tally as gateway_tally
from services.gateway.tally import Tally
from services.generator import resend
from services.ingest.attribution.recounter import Recounter
from services.ingest.attribution.recounts import RecountRunner
from services.ingest.attribution.unmatched import Retrier
from services.ingest.counting.results import Counter
from services.ingest.counting.shown import ShownCounter
from services.ingest.reconciling.flows import FlowWatch
from services.ingest.reconciling.reconciler import Reconciler
from services.ingest.sources.silence import SilenceWatch
from services.ranker.fitter import Fitter, Pace
from shared.admin.drafts.work import DraftWorker
from shared.clock import FrozenClock
from shared.db.partitions import Partitions
from shared.errors import Outage

TICK = timedelta(milliseconds=1)
DAY_S = 86_400.0
Look = Callable[[], Awaitable[None]]
FIRST = {
    "add", "claim", "connection", "count_refused", "finish", "follow", "lost", "open_days", "orgs_with_target", "plans",
    "recount_some", "take_marks", "try_one",
}  # fmt: skip


class Works:
    """Whatever a runner asks for first is one look; the rest has nothing to do."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def asked(*_: object) -> object:
            if name in FIRST:
                await self._look()
            return {} if name == "stale_since" else None if name == "uncounted_since" else False

        return asked


class Connecting(Works):
    """A database: to be given a connection is the look."""

    def connection(self) -> "Connecting":
        return self

    async def __aenter__(self) -> None:
        await self._look()

    async def __aexit__(self, *_: object) -> None: ...


def ran(name: str, look: Look, clock: FrozenClock, stop: asyncio.Event) -> Awaitable[None]:
    works: Any = Works(look)
    match name:
        case "counter":
            return Counter(works, clock, TICK).run(stop)
        case "shown":
            return ShownCounter(works, clock, TICK).run(stop)
        case "retrier":
            return Retrier(works, clock, TICK).run(stop)
        case "recounter":
            return Recounter(works.recount_some, clock, TICK).run(stop)
        case "recounts":
            return RecountRunner(works, clock, TICK).run(stop)
        case "silence":
            return SilenceWatch(works, clock).run(stop)
        case "retention":
            return Retention(works, clock, 100).run(stop)
        case "sweep":
            return Sweeper(works, works.bucket, clock).run(stop)
        case "exports":
            return Scheduler(works, works, clock, settle_s=1, tick_s=1, requeue_s=1).run(stop)
        case "fits":
            return Fitter(works, clock, Pace(tick_s=1, refit_s=1, lease_s=1, retry_s=1)).run(stop)
        case "reconciler":
            return Reconciler(works, works, works, clock, uuid4, every=TICK, tick_s=1).run(stop)
        case "flows":
            return FlowWatch(works, works, works, clock, every=TICK, tick_s=1).run(stop)
        case "tally":
            tally = Tally[str]("refused", works.add)
            tally.count("one", clock.now())
            return tally.run(stop)
        case "resend":
            return resend.Resending(works, works, works.publish, clock).run(stop)
        case "drafts":
            return DraftWorker(works, works, clock=clock, wall=clock, new_id=uuid4).run(stop)
    database: Any = Connecting(look)
    return Partitions(database, "generations").keep(clock, stop)


@pytest.mark.parametrize(
    "name",
    [
        "counter", "shown", "retrier", "recounter", "recounts", "silence", "retention", "sweep", "exports", "fits",
        "reconciler", "flows", "tally", "resend", "drafts", "partitions",
    ],
)  # fmt: skip
async def test_a_runner_goes_on_after_what_nobody_foresaw_as_after_an_outage(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resend, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(gateway_tally, "STORE_EVERY_S", 0.001)
    clock, stop, looks = FrozenClock(), asyncio.Event(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            stop.set()
        raise [OverflowError("a sum of one org"), Outage("the database is away"), KeyError("x")][looks - 1]

    async with asyncio.timeout(30):
        running = asyncio.ensure_future(ran(name, look, clock, stop))
        while not running.done():
            clock.advance(DAY_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(running), 0.01)

    assert looks == 3
    running.result()
