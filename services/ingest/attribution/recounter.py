"""Counts conversions anew where what a template counts has changed: files alone would tell of orders to come only."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from services.ingest.attribution.rebuild import recount_orders
from services.ingest.loading.switch import CREATE_WORK_TABLES, DROP_WORK_TABLES, begin_switch
from services.ingest.stepper import AT_ONCE, Stepper
from shared import logs
from shared.clock import Clock
from shared.db.pool import Database

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


class Recounter(Stepper):
    """An org's lock lets one replica count."""

    failed = "conversions.look_failed"

    def __init__(self, recount: Callable[[], Awaitable[UUID | None]], clock: Clock, tick: timedelta) -> None:
        super().__init__(clock, tick)
        self._recount = recount

    async def step(self) -> timedelta | None:
        """See Stepper."""
        org_id = await self._recount()
        if org_id is None:
            return None
        log.info("conversions.counted_anew", org_id=org_id)
        return AT_ONCE
