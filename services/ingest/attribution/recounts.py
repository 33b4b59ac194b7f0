"""Computes all of an org anew where somebody asked for it (`justai org recount`): what no file and no setting tells of.

A step does one day of sending, in one transaction, under the org's lock: a crash loses no more than that, files are
loaded between two steps, and any number of replicas may run it. The last step counts all orders and rollups.
"""

from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from services.ingest.attribution.rebuild import recompute_day, recompute_rest, send_days
from services.ingest.loading.switch import CREATE_WORK_TABLES, DROP_WORK_TABLES, begin_long_work, begin_switch
from shared import logs
from shared.clock import Clock
from shared.db.pool import Database
from shared.stepper import Stepper

log = logs.get(__name__)

_TIMEOUT_S: Final = 3600.0

# Orgs take turns: one whose day cannot be computed holds up no other.
TAKE_TURN: Final = """
    UPDATE recounts r SET tried_at = $1 WHERE org_id = (
        SELECT org_id FROM recounts WHERE ended_at IS NULL
        ORDER BY tried_at NULLS FIRST, org_id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING org_id, days IS NULL AS new
"""
BEGIN: Final = """
    UPDATE recounts SET days = $2::date[], total = cardinality($2::date[]) WHERE org_id = $1 AND days IS NULL
"""
SELECT_DAYS: Final = "SELECT days FROM recounts WHERE org_id = $1 AND ended_at IS NULL FOR UPDATE"
DAY_DONE: Final = "UPDATE recounts SET days = $2 WHERE org_id = $1"
END: Final = "UPDATE recounts SET ended_at = $2 WHERE org_id = $1"


class Recounts(Protocol):
    """What the runner does, one thing at a time. Says whether there was something to do; raises Failure."""

    async def recount_some(self, now: datetime) -> bool: ...


class StoredRecounts:
    """On PostgreSQL. `window`: as attribution has it."""

    def __init__(self, database: Database, window: timedelta) -> None:
        self._database, self._window = database, window

    async def recount_some(self, now: datetime) -> bool:
        """Look which days there are, do one of them, or end, for the org whose turn it is."""
        async with self._database.transaction() as connection:
            turn = await connection.fetchrow(TAKE_TURN, now)
        if turn is None:
            return False
        if turn["new"]:
            await self._begin(turn["org_id"])
        else:
            await self._go_on(turn["org_id"], now)
        return True

    async def _begin(self, org_id: UUID) -> None:
        async with self._database.connection(_TIMEOUT_S) as connection, connection.transaction():
            await begin_long_work(connection, org_id)
            await connection.execute(BEGIN, org_id, await send_days(connection, org_id))

    async def _go_on(self, org_id: UUID, now: datetime) -> None:
        async with self._database.connection(_TIMEOUT_S) as connection, connection.transaction():
            await begin_switch(connection, org_id)
            days = await connection.fetchval(SELECT_DAYS, org_id)
            if days is None:
                return  # another replica has ended it
            await connection.execute(CREATE_WORK_TABLES)
            if days:
                await recompute_day(connection, org_id, days[0], self._window)
                await connection.execute(DAY_DONE, org_id, days[1:])
            else:
                await recompute_rest(connection, org_id)
                await connection.execute(END, org_id, now)
                log.info("recount.ended", org_id=org_id)
            await connection.execute(DROP_WORK_TABLES)


class RecountRunner(Stepper):
    """A step at a time."""

    failed = "recount.step_failed"

    def __init__(self, recounts: Recounts, clock: Clock, tick: timedelta) -> None:
        super().__init__(clock, tick)
        self._recounts = recounts

    async def step(self) -> timedelta | None:
        """See Stepper. It rests as long as it worked: files of the org wait for its lock."""
        started_s = self._clock.monotonic()
        if await self._recounts.recount_some(self._clock.now()):
            return timedelta(seconds=self._clock.monotonic() - started_s)
        return None
