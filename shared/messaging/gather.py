"""One batch out of what several queues bring at the same time.

The shards of a queue are consumed side by side, so under moderate load each brings a handful of jobs, and a handful
costs almost as many round trips as a hundred. Whatever arrives while a batch is under way goes together as the next
one: a lone job goes at once, and batches grow by themselves with the load.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.errors import Outage

J = TypeVar("J")
Outcomes = Sequence[Exception | None]
Handler = Callable[[Sequence[J]], Awaitable[Outcomes]]


@dataclass(frozen=True, slots=True)
class _Part(Generic[J]):
    jobs: Sequence[J]
    outcomes: "asyncio.Future[Outcomes]"


class Gather(Generic[J]):
    """A handler that merges concurrent calls. Each caller gets the outcomes of its own jobs, or its own error."""

    def __init__(self, handler: Handler[J], *, most_jobs: int, at_once: int) -> None:
        """At most `at_once` batches are under way: a second one computes while the first waits for the database."""
        self._handler, self._most_jobs, self._at_once = handler, most_jobs, at_once
        self._waiting: deque[_Part[J]] = deque()
        self._working = 0
        self._workers: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    async def __call__(self, jobs: Sequence[J]) -> Outcomes:
        part = _Part(jobs, asyncio.get_running_loop().create_future())
        self._waiting.append(part)
        if self._working < self._at_once:
            self._working += 1
            worker = asyncio.create_task(self._work(), name="gathered batches")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await part.outcomes

    async def _work(self) -> None:
        try:
            while parts := self._next():
                await self._handle_all(parts)
        finally:
            # In the same step that found nothing waiting: who comes next must start a worker.
            self._working -= 1

    async def _handle_all(self, parts: Sequence[_Part[J]]) -> None:
        try:
            await self._handle_apart(parts)
        except Outage as outage:
            self._give_up(parts, outage)
        except BaseException:
            # We are cancelled, and nobody else would ever tell those who wait.
            self._give_up(parts, Outage("the batch was broken off", reason="broken_off"))
            raise

    async def _handle_apart(self, parts: Sequence[_Part[J]]) -> None:
        """Together, or each by itself where one of them breaks the batch. Raises Outage."""
        try:
            await self._handle(parts)
        except Outage:
            raise
        except Exception as error:  # noqa: BLE001  # the callers' own handling decides; each gets what it caused
            if len(parts) == 1:
                _fail(parts[0], error)
            else:
                await self._one_by_one(parts)

    def _give_up(self, parts: Sequence[_Part[J]], outage: Outage) -> None:
        """Who waits behind them has waited as long, and would only find the same server."""
        waiting = [*self._waiting]
        self._waiting.clear()
        for part in (*parts, *waiting):
            _fail(part, Outage(str(outage), reason=outage.reason))

    def _next(self) -> list[_Part[J]]:
        """What waits, in its order, up to the size of a batch; callers who gave up are left out."""
        parts: list[_Part[J]] = []
        jobs = 0
        while self._waiting and (not parts or jobs + len(self._waiting[0].jobs) <= self._most_jobs):
            part = self._waiting.popleft()
            if not part.outcomes.done():
                parts.append(part)
                jobs += len(part.jobs)
        return parts

    async def _handle(self, parts: Sequence[_Part[J]]) -> None:
        outcomes = iter(await self._handler([job for part in parts for job in part.jobs]))
        for part in parts:
            own = [next(outcomes) for _ in part.jobs]
            if not part.outcomes.done():
                part.outcomes.set_result(own)

    async def _one_by_one(self, parts: Sequence[_Part[J]]) -> None:
        """One part broke the batch: only its own caller may hear of it."""
        for part in parts:
            try:
                await self._handle([part])
            except Exception as error:  # noqa: BLE001  # the same
                _fail(part, error)


def _fail(part: _Part[J], error: Exception) -> None:
    if not part.outcomes.done():
        part.outcomes.set_exception(error)
