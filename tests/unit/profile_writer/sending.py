"""A sender with copy and keys from nowhere and a Klaviyo that says what it is told to. Time moves only when told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import cast
from uuid import UUID

from services.profile_writer.content import Contents, Integration
from services.profile_writer.content import Texts as Read
from services.profile_writer.rows import Key, Pending
from services.profile_writer.stops import Stops
from services.profile_writer.turns.rules import Sent
from services.profile_writer.turns.sender import Sender
from services.profile_writer.turns.turn import Report, Turn
from shared.clock import FrozenClock
from shared.klaviyo.limits import RateLimit
from tests.unit.profile_writer.given import NOW, seconds, taken

SPACING_S, TICK_S = 0.02, 0.005


class Texts:
    """Copy and keys from nowhere."""

    def __init__(
        self, missing: Collection[UUID] = (), private_key: str | None = "pk", stopped: Collection[UUID] = ()
    ) -> None:
        self._missing, self._private_key, self._stopped = missing, private_key, frozenset(stopped)

    async def texts(self, rows: Sequence[Pending]) -> Read:
        kept = {row.ref.generation_id for row in rows}.difference(self._missing, self._stopped)
        return Read({id_: {"jai_subject": "Hi"} for id_ in kept}, self._stopped)

    async def integrations(self, org_ids: Collection[UUID]) -> dict[UUID, Integration]:
        return {id_: Integration(id_, "http://klaviyo.example", self._private_key, NOW) for id_ in org_ids}


class Klaviyo:
    """Answers after `latency_s`, or with what `says` gives for the n-th request (from 0)."""

    def __init__(self, clock: FrozenClock, latency_s: float = 0.0, says: Mapping[int, BaseException] = {}) -> None:
        self._clock, self._latency_s, self._says = clock, latency_s, says
        self.sent_at: list[datetime] = []
        self.imported_at: list[datetime] = []
        self.unanswered = self.most_unanswered = 0

    async def patch_profile(
        self, profile_id: str, *, properties: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> RateLimit:
        return await self._answer(self.sent_at)

    async def import_profile(self, profile_id: str, *, properties: Mapping[str, str]) -> RateLimit:
        return await self._answer(self.imported_at)

    async def _answer(self, moments: list[datetime]) -> RateLimit:
        number = len(self.sent_at) + len(self.imported_at)
        moments.append(self._clock.now())
        self.unanswered += 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        try:
            await self._clock.sleep(self._latency_s)
            if number in self._says:
                raise self._says[number]
            return RateLimit(limit=750)
        finally:
            self.unanswered -= 1


def turn(count: int, *, send_s: float = 2.0, answers_s: float = 29.0, in_flight_max: int = 10) -> Turn:
    sends = []
    for number in range(count):
        row = taken(number)
        sends.append(Sent(replace(row, key=Key(row.key.account_key, f"P{number:05}", "jai")), None))
    return Turn(
        UUID(int=77), "acct:A", sends, NOW, NOW + seconds(send_s), NOW + seconds(answers_s), SPACING_S, in_flight_max
    )


@asynccontextmanager
async def sending(
    clock: FrozenClock,
    klaviyo: Klaviyo,
    wanted: Turn,
    texts: Texts | None = None,
    stop: asyncio.Event | None = None,
    stops: Callable[[], Stops] = Stops,
) -> AsyncIterator["asyncio.Task[Report]"]:
    sender = Sender(cast(Contents, texts or Texts()), lambda _: klaviyo, clock, stops)
    task = asyncio.create_task(sender.send(wanted, stop or asyncio.Event()))
    try:
        yield task
    finally:
        task.cancel()


async def play(clock: FrozenClock, task: "asyncio.Task[Report]") -> Report:
    """Let time pass in small steps until the turn is over."""
    for _ in range(20_000):
        await settled()
        if task.done():
            return task.result()
        clock.advance(TICK_S)
    raise AssertionError("the turn does not end")


async def settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def sent(klaviyo: Klaviyo, clock: FrozenClock, wanted: Turn, texts: Texts | None = None) -> Report:
    async with sending(clock, klaviyo, wanted, texts) as task:
        return await play(clock, task)


def gaps_s(moments: Sequence[datetime]) -> list[float]:
    return [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
