"""The runner that gives accounts their turns, the least recently served first, several side by side."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import datetime
from uuid import UUID

from services.profile_writer.rows import NotSent
from services.profile_writer.turns.sender import Sender
from services.profile_writer.turns.turn import Report, Turn, Turns
from shared import logs
from shared.clock import Clock, first_of
from shared.errors import Transient

log = logs.get(__name__)

LOOK_S = 1.0
"""Real seconds between looks while nothing is known to be due: another replica's intake wakes only its own process,
which serves what it took in; we look in case its places are all taken."""

_UNANSWERED_MAX = 500
"""Calls without an answer, of turns that have given their place back. An account that rests asks with one."""

_HELD_S = 0.05
_OUTAGE_PAUSE_S = 0.5
_CLOSE_TRIES = 6


class Scheduler:
    """`run` until stopped; `wake` when something may be due sooner than thought. `side_by_side`: turns that send."""

    def __init__(self, turns: Turns, sender: Sender, clock: Clock, *, side_by_side: int) -> None:
        self._turns, self._sender, self._clock = turns, sender, clock
        self._places = asyncio.Semaphore(side_by_side)
        self._woken = asyncio.Event()
        self._placeless: set[UUID] = set()  # turns that have given their place back

    def wake(self) -> None:
        """Look again now."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """A runner. Turns under way are finished: what was answered is recorded, what was not sent is given back."""
        async with asyncio.TaskGroup() as turns:
            while not stop.is_set():
                await self._places.acquire()
                self._woken.clear()
                found = await self._next(stop)
                if isinstance(found, Turn) and found.sends:
                    turns.create_task(self._play(found, stop), name=f"turn of {found.account_key}")
                    continue
                self._places.release()
                if not isinstance(found, Turn):
                    await self._wait(found, stop)

    async def _next(self, stop: asyncio.Event) -> Turn | datetime | None:
        try:
            return await self._turns.open()
        except Transient as error:  # Outage is one
            log.warning("turn.not_opened", reason=error.reason)
            await first_of(stop.wait(), within_s=_OUTAGE_PAUSE_S)
            return self._clock.now()

    async def _play(self, turn: Turn, stop: asyncio.Event) -> None:
        """Send and settle. Whatever goes wrong in one turn ends with it: its rows come back with the lease."""
        leaving = asyncio.create_task(self._leave(turn), name=f"place of {turn.account_key}")
        try:
            await self._close(turn, await self._send(turn, stop))
        except Exception as error:  # one account's turn must not stop the others'
            log.error("turn.failed", account_key=turn.account_key, sends=len(turn.sends), exc_info=error)
        finally:
            leaving.cancel()
            if turn.turn_id in self._placeless:
                self._placeless.remove(turn.turn_id)
            else:
                self._places.release()
            self._woken.set()

    async def _leave(self, turn: Turn) -> None:
        """Give a turn's place to another account once nothing of it leaves any more: answers that do not come hold
        nobody else up. A turn that waits for our own database keeps it."""
        await self._clock.sleep((turn.send_until - self._clock.now()).total_seconds())
        while not self._may_leave(turn):  # noqa: ASYNC110  # the answers of all turns set no one event
            await asyncio.sleep(LOOK_S)
        self._placeless.add(turn.turn_id)
        self._places.release()

    def _may_leave(self, turn: Turn) -> bool:
        asked = self._sender.unanswered(turn.turn_id)
        return 0 < asked <= _UNANSWERED_MAX - sum(map(self._sender.unanswered, self._placeless))

    async def _send(self, turn: Turn, stop: asyncio.Event) -> Report:
        try:
            return await self._sender.send(turn, stop)
        except Transient as error:
            log.warning("turn.not_sent", reason=error.reason, sends=len(turn.sends))
            not_sent = NotSent("the copy could not be read", reason="turn_over")
            return Report([not_sent] * len(turn.sends), None, (), None)

    async def _close(self, turn: Turn, report: Report) -> None:
        """Record the answers. When that fails for good, what was sent is known as possible, and is sent again."""
        for tries in range(1, _CLOSE_TRIES + 1):
            try:
                await self._turns.close(turn, report)
                break
            except Transient as error:
                log.warning("turn.not_closed", reason=error.reason, tries=tries)
                if tries == _CLOSE_TRIES:
                    raise
                await asyncio.sleep(_OUTAGE_PAUSE_S * tries)
        results = Counter("applied" if result is None else result.reason for result in report.results)
        level = log.debug if set(results) <= {"applied", "stopped"} else log.warning
        level("turn.closed", account_key=turn.account_key, results=dict(results))
        for refusal in report.refusals:
            log.error("klaviyo.key_refused", org_id=refusal.org_id, reason=refusal.reason)

    async def _wait(self, due_at: datetime | None, stop: asyncio.Event) -> None:
        """Until something is due, or somebody wakes us, or it is time to look at what other replicas took in."""
        ends: list[Coroutine[object, object, object]] = [self._woken.wait(), stop.wait()]
        if due_at is not None:
            # Due already, and yet not ours: another turn or intake has hold of it, for milliseconds.
            ends.append(self._clock.sleep(max(_HELD_S, (due_at - self._clock.now()).total_seconds())))
        await first_of(*ends, within_s=LOOK_S)
