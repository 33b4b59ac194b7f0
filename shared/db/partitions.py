"""The partitions of a table that is kept by day: made before midnight needs them, or else when a row does."""

import asyncio
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final, Literal

from shared import logs
from shared.clock import Clock, first_of
from shared.db.pool import Database
from shared.errors import Outage, as_outage

log = logs.get(__name__)

EVERY_S: Final = 3600.0
"""Virtual."""
_AGAIN_S: Final = 30.0  # virtual; each try may wait for 5 s, and others wait for it

ENSURE_PARTITION: Final = "SELECT ensure_partition($1, $2)"


class Partitions:
    """Of one table, as one process knows them."""

    def __init__(self, database: Database, parent: Literal["generations", "write_outcomes"]) -> None:
        self._database, self._parent = database, parent
        self._made: set[date] = set()

    async def ensure(self, days: Iterable[date]) -> None:
        """The partitions of these days exist from here on. Before the transaction that needs them: nobody waits for it,
        but it may wait. Raises Outage, also where somebody holds the table: without them no row can be stored, and no
        job is to blame."""
        for day in sorted(set(days) - self._made):
            with as_outage():
                async with self._database.connection() as connection:
                    await connection.execute(ENSURE_PARTITION, self._parent, day)
            self._made.add(day)

    async def keep(self, clock: Clock, stop: asyncio.Event) -> None:
        """A runner: today's and tomorrow's are there before midnight needs them."""
        due_s = clock.monotonic()
        while not stop.is_set():
            if clock.monotonic() >= due_s:
                today = clock.now().date()
                try:
                    await self.ensure((today, today + timedelta(days=1)))
                    due_s = clock.monotonic() + EVERY_S
                except Outage as error:
                    due_s = clock.monotonic() + _AGAIN_S
                    log.warning("partitions.not_ensured", parent=self._parent, reason=error.reason)
                except Exception as error:  # a runner that ended would end its service
                    due_s = clock.monotonic() + _AGAIN_S
                    log.error("partitions.not_ensured", parent=self._parent, exc_info=error)
            await first_of(stop.wait(), within_s=1)
