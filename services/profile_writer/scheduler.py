"""The runner that gives accounts their turns, the least recently served first, several side by side."""

import asyncio
from contextlib import suppress
from datetime import datetime

from services.profile_writer.sender import Sender
from services.profile_writer.store import Store
from services.profile_writer.turn import Turn, Turns
from shared import logs, metrics
from shared.clock import Clock
from shared.errors import Transient

log = logs.get(__name__)

_LOOK_S = 0.25
"""Real seconds between looks while nothing is known to be due: another replica's intake wakes only its own process."""

_OUTAGE_PAUSE_S = 0.5
_CLOSE_TRIES = 5
_LANES = {0: "dirty", 1: "fresh", 2: "retry", 3: "clean_up"}
_BACKLOG_EVERY_S = 5.0

SELECT_BACKLOG = """
    SELECT lane, count(*) AS waiting, min(deadline_at) FILTER (WHERE action = 'write') AS first_deadline_at
    FROM pending_writes GROUP BY lane
"""


class Scheduler:
    """`run` until stopped; `wake` when something may be due sooner than thought."""

    def __init__(self, store: Store, turns: Turns, sender: Sender, clock: Clock, *, side_by_side: int) -> None:
        self._store, self._turns, self._sender, self._clock = store, turns, sender, clock
        self._places = asyncio.Semaphore(side_by_side)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again now."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """A runner. Turns under way are finished: what was answered is recorded, what was not sent is given back."""
        async with asyncio.TaskGroup() as turns:
            while not stop.is_set():
                await self._places.acquire()
                turn = await self._next(stop)
                if turn is None or not turn.sends:
                    self._places.release()
                if turn is None:
                    await self._wait(stop)
                elif turn.sends:
                    turns.create_task(self._play(turn, stop), name=f"turn of {turn.account_key}")

    async def _next(self, stop: asyncio.Event) -> Turn | None:
        self._woken.clear()
        try:
            return await self._turns.open()
        except Transient as error:  # Outage is one
            log.warning("turn.not_opened", reason=error.reason)
            await _unless(stop, _OUTAGE_PAUSE_S)
            return None

    async def _play(self, turn: Turn, stop: asyncio.Event) -> None:
        try:
            report = await self._sender.send(turn, stop)
            for pause_s in (*(_OUTAGE_PAUSE_S * tries for tries in range(1, _CLOSE_TRIES)), None):
                try:
                    await self._turns.close(turn, report)
                    break
                except Transient as error:
                    # What was sent is recorded as possible already; the lease gives the rows back.
                    log.warning("turn.not_closed", reason=error.reason, sends=len(turn.sends))
                    if pause_s is None:
                        break
                    await asyncio.sleep(pause_s)
            for refusal in report.refusals:
                log.error("klaviyo.key_refused", org_id=refusal.org_id, reason=refusal.reason)
        except Transient as error:
            log.warning("turn.not_sent", reason=error.reason, sends=len(turn.sends))
        finally:
            self._places.release()
            self._woken.set()

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until something is due, or somebody wakes us, or it is time to look at what other replicas took in."""
        woken, stopped = asyncio.ensure_future(self._woken.wait()), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({woken, stopped}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            stopped.cancel()

    async def watch_backlog(self, stop: asyncio.Event) -> None:
        """A runner: how much waits in which lane, and how late the latest is."""
        while not stop.is_set():
            try:
                async with self._store.free_desk() as desk:
                    rows = await desk.connection.fetch(SELECT_BACKLOG)
            except Transient as error:
                log.warning("backlog.unknown", reason=error.reason)
            else:
                waiting = {row["lane"]: row["waiting"] for row in rows}
                for lane, name in _LANES.items():
                    metrics.gauge("write_backlog", waiting.get(lane, 0), lane=name)
                metrics.gauge("write_oldest_overdue_seconds", self._overdue_s([r["first_deadline_at"] for r in rows]))
            await _unless(stop, _BACKLOG_EVERY_S)

    def _overdue_s(self, deadlines: list[datetime | None]) -> float:
        first = min((moment for moment in deadlines if moment is not None), default=None)
        return 0.0 if first is None else max(0.0, (self._clock.now() - first).total_seconds())


class Alarm:
    """Looks at every account of an org again when its integration changes: a new key ends a pause."""

    SELECT_KEYS = """
        SELECT account_key FROM integrations WHERE org_id = $1
        UNION SELECT account_key FROM write_pauses WHERE org_id = $1
    """
    SELECT_PAUSED_KEYS = "SELECT account_key FROM write_pauses"

    def __init__(self, store: Store, scheduler: Scheduler, clock: Clock) -> None:
        self._store, self._scheduler, self._clock = store, scheduler, clock
        self._changed: asyncio.Queue[object] = asyncio.Queue()

    def changed(self, org_id: object) -> None:
        """An org's integration changed; None: perhaps any."""
        self._changed.put_nowait(org_id)

    async def run(self, stop: asyncio.Event) -> None:
        """A runner."""
        while not stop.is_set():
            waiting = asyncio.ensure_future(self._changed.get())
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not waiting.done():
                waiting.cancel()
                return
            await self._look_again(waiting.result(), stop)

    async def _look_again(self, org_id: object, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with self._store.free_desk() as desk:
                    query = (self.SELECT_PAUSED_KEYS,) if org_id is None else (self.SELECT_KEYS, org_id)
                    keys = [row["account_key"] for row in await desk.connection.fetch(*query)]
                    await desk.wake(keys, self._clock.now())
            except Transient as error:
                log.warning("account.not_woken", reason=error.reason)
                await _unless(stop, _OUTAGE_PAUSE_S)
            else:
                self._scheduler.wake()
                return


async def _unless(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
