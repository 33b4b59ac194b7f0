"""Says in metrics how much waits, how late it is, and which accounts stand still. A runner of its own: what it asks
reads whole tables, takes longest when most waits, and would keep changed keys and forgotten accounts waiting just then.
"""

from datetime import timedelta

from services.profile_writer.upkeep.store import UpkeepStore
from shared import metrics
from shared.clock import Clock
from shared.stepper import Stepper
from shared.writes import LANES

TELL_EVERY = timedelta(seconds=10)


class Teller(Stepper):
    """A runner. Every replica tells the same numbers."""

    failed = "backlog.unknown"

    def __init__(self, store: UpkeepStore, clock: Clock, *, second_road: bool = False) -> None:
        super().__init__(clock, TELL_EVERY)
        self._store, self._second_road = store, second_road

    async def step(self) -> None:
        """See Stepper."""
        now = self._clock.now()
        view = await self._store.live_view(now, second_road=self._second_road)
        for number, lane in enumerate(LANES):
            metrics.gauge("write_backlog", view.waiting.get(number, 0), lane=lane)
        metrics.gauge("write_oldest_overdue_seconds", view.overdue_s(now))
        metrics.gauge("write_budget_used_ratio", view.used_ratio)
        metrics.gauge("write_drain_seconds", view.drain_s)
        metrics.gauge("write_runnable_accounts", await self._store.runnable(now))
        metrics.gauge("write_paused_orgs", await self._store.paused(now))
        for state, accounts in (await self._store.breakers(now)).items():
            metrics.gauge("klaviyo_breaker_accounts", accounts, state=state)
        if self._second_road:
            for verdict, accounts in (await self._store.verdicts()).items():
                metrics.gauge("second_road_accounts", accounts, verdict=verdict)
