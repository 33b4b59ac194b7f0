"""Tells whoever waits what was decided: after it is stored, beside the batches, and never at their cost.

What waits to be told is ids in a bounded line; the copy is read when its turn comes, so it is what is stored, also for
a repeated request and where another replica was faster. What finds the line full is not told: its caller gets 202.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson

from shared import logs, metrics
from shared.errors import Failure
from shared.schemas.copy import Vars
from shared.schemas.jobs import GenerateJob

log = logs.get(__name__)

MOST_IN_LINE = 2_000
_TOLD_AT_ONCE = 50  # copies in memory at a time, 80 KB each at most
_READ_TIMEOUT_S = 2.0

Handler = Callable[[Sequence[GenerateJob]], Awaitable[Sequence[Exception | None]]]
Send = Callable[[str, str, bytes], Awaitable[None]]
"""An answer to an address under a correlation id; raises Outage."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was decided: copy, or the reason why there is none."""

    reason: str
    copy_id: UUID | None
    copy: Vars | None


Find = Callable[[Sequence[GenerateJob]], Awaitable[Mapping[UUID, Told]]]


class Answers:
    """The line of those who wait."""

    def __init__(self, find: Find, send: Send) -> None:
        self._find, self._send = find, send
        self._line: asyncio.Queue[GenerateJob] = asyncio.Queue(MOST_IN_LINE)

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return self._line.qsize()

    def after(self, handler: Handler) -> Handler:
        """The same handler; those of its jobs that somebody waits for are told once it has done them."""

        async def handle(jobs: Sequence[GenerateJob]) -> Sequence[Exception | None]:
            outcomes = await handler(jobs)
            for job, failure in zip(jobs, outcomes, strict=True):
                if job.reply_to is not None and failure is None:
                    self._ask(job)
            return outcomes

        return handle

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until `stop` is set. What is in line then is left: stored it is, and the callers get 202."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                first = asyncio.ensure_future(self._line.get())
                await asyncio.wait({first, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not first.done():
                    first.cancel()
                    break
                some = [first.result()]
                while len(some) < _TOLD_AT_ONCE and not self._line.empty():
                    some.append(self._line.get_nowait())
                await self._tell(some)
        finally:
            stopped.cancel()

    def _ask(self, job: GenerateJob) -> None:
        try:
            self._line.put_nowait(job)
        except asyncio.QueueFull:
            metrics.count("replies_total", result="dropped")

    async def _tell(self, jobs: Sequence[GenerateJob]) -> None:
        sent = 0
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                told = await self._find(jobs)
            for job in jobs:
                if job.reply_to is not None and (one := told.get(job.generation_id)) is not None:
                    await self._send(job.reply_to, str(job.generation_id), answer(job.generation_id, one))
                    sent += 1
        except (Failure, TimeoutError) as error:
            log.info("answers.dropped", error=type(error).__name__, waiting=len(jobs) - sent)
        except Exception as error:  # noqa: BLE001  # a copy that cannot be read must not end the service
            log.error("answers.failed", error=type(error).__name__, waiting=len(jobs) - sent)
        metrics.count("replies_total", sent, result="sent")
        metrics.count("replies_total", len(jobs) - sent, result="dropped")


def answer(asked_id: UUID, told: Told) -> bytes:
    """The body of the 200, for the id that the caller's 202 would name."""
    if told.copy is None:
        return orjson.dumps({"generation_id": str(asked_id), "copy": None, "reason": told.reason})
    copy = {"id": str(told.copy_id), "vars": told.copy._asdict()}
    return orjson.dumps({"generation_id": str(asked_id), "copy": copy})
