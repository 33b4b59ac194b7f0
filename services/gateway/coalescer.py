"""Group commit: whatever waits for one queue while a publish is under way goes together as the next message.

A lone job goes at once. Under load the messages grow by themselves with the time that the broker takes to confirm,
so the cost of a publish (some 50 µs of this process, an fsync of the broker's) is shared by more jobs just when it
matters. No timer and nothing to tune.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from shared import logs, metrics
from shared.errors import Outage

log = logs.get(__name__)

Send = Callable[[str, list[bytes]], Awaitable[None]]
"""Publishes one message of these jobs to the queue of this name; returns with the confirm or raises Outage."""


class Full(Exception):
    """Too much waits for this queue already."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one queue. A job is confirmed or given up after at most twice `wait_s`: once for the messages before its
    own, once for its own."""

    message_jobs: int = 256
    message_bytes: int = 524_288
    waiting_jobs: int = 4_096
    waiting_bytes: int = 8_388_608
    wait_s: float = 2.4


DEFAULT_LIMITS: Final = Limits()


@dataclass(slots=True)
class _Waiting:
    job: bytes
    since_s: float
    confirmed: asyncio.Future[None]


@dataclass(slots=True)
class _Lane:
    queue: str
    waiting: deque[_Waiting] = field(default_factory=deque)
    waiting_bytes: int = 0
    sender: asyncio.Task[None] | None = None
    failing: bool = False


class Coalescer:
    """Joins jobs to messages, one message per queue under way at a time. `seconds` is monotonic, real."""

    def __init__(self, send: Send, *, seconds: Callable[[], float], limits: Limits = DEFAULT_LIMITS) -> None:
        self._send, self._seconds, self._limits = send, seconds, limits
        self._lanes: dict[str, _Lane] = {}

    async def submit(self, queue: str, job: bytes) -> None:
        """Return when the broker has this job (one encoded JSON object). Raises Full, and Outage when there is no
        confirm: then the job may or may not be there.

        Whoever is cancelled while waiting takes its job back if that is still possible, and no other job with it.
        """
        lane = self._lanes.get(queue)
        if lane is None:
            lane = self._lanes[queue] = _Lane(queue)
        if len(lane.waiting) >= self._limits.waiting_jobs or lane.waiting_bytes + len(job) > self._limits.waiting_bytes:
            raise Full
        waiting = _Waiting(job, self._seconds(), asyncio.get_running_loop().create_future())
        lane.waiting.append(waiting)
        lane.waiting_bytes += len(job)
        if lane.sender is None:
            lane.sender = asyncio.create_task(self._drain(lane), name=f"send to {queue}")
        await waiting.confirmed

    async def _drain(self, lane: _Lane) -> None:
        """Send until nothing waits. After a failure the rest fails too: it has waited long enough, and the next
        message would only find the same broker."""
        failure: Outage | None = Outage("sending was interrupted", reason="interrupted")
        message: list[_Waiting] = []
        try:
            while message := self._next_message(lane):
                outage = await self._send_message(lane.queue, message)
                if outage is not None:
                    failure = outage
                    break
                _settle(message, None)
                _tell(lane, None)
            else:
                failure = None
        finally:
            lane.sender = None
            if failure is not None:
                metrics.count("publish_failures_total", reason=failure.reason)
                _tell(lane, failure)
                _settle([*message, *lane.waiting], failure)
                lane.waiting.clear()
                lane.waiting_bytes = 0

    async def _send_message(self, queue: str, message: list[_Waiting]) -> Outage | None:
        try:
            async with asyncio.timeout(self._limits.wait_s):
                with metrics.timed("publish_confirm_seconds"):
                    await self._send(queue, [waiting.job for waiting in message])
        except TimeoutError:
            return Outage("no confirm from the broker in time", reason="confirm_timeout")
        except Outage as outage:
            return outage
        return None

    def _next_message(self, lane: _Lane) -> list[_Waiting]:
        """The oldest that fit into one message; at least one if any waits. Empty when nothing does."""
        message: list[_Waiting] = []
        message_bytes = 0
        too_old_s = self._seconds() - self._limits.wait_s
        while lane.waiting and len(message) < self._limits.message_jobs:
            waiting = lane.waiting[0]
            if message and message_bytes + len(waiting.job) > self._limits.message_bytes:
                break
            lane.waiting.popleft()
            lane.waiting_bytes -= len(waiting.job)
            if waiting.since_s < too_old_s:
                _settle([waiting], Outage("the broker confirms too slowly", reason="confirm_timeout"))
            elif not waiting.confirmed.done():
                message.append(waiting)
                message_bytes += len(waiting.job)
        return message


def _tell(lane: _Lane, failure: Outage | None) -> None:
    """An outage is a line when it begins and one when it ends, however many webhooks it refuses."""
    if failure is not None and not lane.failing:
        log.warning("publish.failing", queue=lane.queue, reason=failure.reason)
    elif failure is None and lane.failing:
        log.warning("publish.confirmed_again", queue=lane.queue)
    lane.failing = failure is not None


def _settle(settled: list[_Waiting], failure: Outage | None) -> None:
    for waiting in settled:
        if waiting.confirmed.done():
            continue
        if failure is None:
            waiting.confirmed.set_result(None)
        else:
            # One exception each: a shared one would gather the traceback of everybody who raises it.
            waiting.confirmed.set_exception(Outage(str(failure), reason=failure.reason))
