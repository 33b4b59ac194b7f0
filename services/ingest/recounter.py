"""Counts conversions anew where what a template counts has changed: files alone would tell of orders to come only."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from services.ingest.rebuild import recount_orders
from services.ingest.switch import CREATE_WORK_TABLES, DROP_WORK_TABLES, begin_switch
from shared import logs
from shared.clock import Clock, first_of
from shared.db.pool import Database
from shared.errors import Failure

log = logs.get(__name__)

_TIMEOUT_S = 3600.0

SELECT_STALE_ORG = "SELECT org_id FROM templates WHERE conversions_stale ORDER BY org_id LIMIT 1"
# Whoever changes the definition meanwhile waits for us, and is counted next.
TAKE_STALE = "SELECT template_id FROM templates WHERE org_id = $1 AND conversions_stale ORDER BY 1 FOR UPDATE"
SETTLE_STALE = "UPDATE templates SET conversions_stale = false WHERE org_id = $1 AND template_id = ANY ($2::text[])"


async def recount_one(database: Database) -> UUID | None:
    """Count one org's conversions by the present definitions; None when no template waits for it. Safe to repeat, and
    beside files that are loaded meanwhile."""
    async with database.connection(_TIMEOUT_S) as connection:
        org_id: UUID | None = await connection.fetchval(SELECT_STALE_ORG)
        if org_id is None:
            return None
        async with connection.transaction():
            await begin_switch(connection, org_id)
            await connection.execute(CREATE_WORK_TABLES)
            waiting = [row["template_id"] for row in await connection.fetch(TAKE_STALE, org_id)]
            if waiting:
                await recount_orders(connection, org_id)
                await connection.execute(SETTLE_STALE, org_id, waiting)
            await connection.execute(DROP_WORK_TABLES)
    return org_id


class Recounter:
    """A runner. Replicas may run it at once: an org's lock lets one of them count."""

    def __init__(self, recount: Callable[[], Awaitable[UUID | None]], clock: Clock, tick_s: float) -> None:
        self._recount, self._clock, self._tick_s = recount, clock, tick_s

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; the org in hand is finished."""
        while not stop.is_set():
            try:
                org_id = await self._recount()
            except Failure as error:
                log.warning("conversions.look_failed", reason=error.reason)
                org_id = None
            except Exception as error:  # of one org; it must not end what is done for the others
                log.error("conversions.look_failed", exc_info=error)
                org_id = None
            if org_id is not None:
                log.info("conversions.counted_anew", org_id=org_id)
                continue
            await first_of(self._clock.sleep(self._tick_s), stop.wait())
