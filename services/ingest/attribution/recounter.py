"""Counts anew where something else than a file changes what counts: files alone would tell of what is to come only.

| what changes | what is counted anew |
|---|---|
| what a template counts as a conversion | all orders of the org |
| which emails are those of Klaviyo's own control branch | the same, and all days of the org |

The latter changes where a template names another step, and where flows are read whose step has other messages.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from services.ingest.attribution.rebuild import recount_orders
from services.ingest.loading.switch import CREATE_WORK_TABLES, DROP_WORK_TABLES, begin_switch
from shared import logs
from shared.clock import Clock
from shared.db.pool import Database
from shared.stepper import AT_ONCE, Stepper

log = logs.get(__name__)

_TIMEOUT_S = 3600.0

# Two replicas may look at once: what one has noted, the other does not find any more.
FOLLOW_CONTROL = """
    WITH known AS (
        SELECT t.org_id, t.template_id, m.message_id FROM templates t
        JOIN flow_messages m ON m.org_id = t.org_id AND m.action_id = t.control_action_id
    ), gone AS (
        DELETE FROM control_messages c WHERE NOT EXISTS (
            SELECT FROM known k
            WHERE k.org_id = c.org_id AND k.template_id = c.template_id AND k.message_id = c.message_id)
        RETURNING org_id, template_id
    ), come AS (
        INSERT INTO control_messages (org_id, template_id, message_id)
        SELECT org_id, template_id, message_id FROM known ORDER BY 1, 2, 3
        ON CONFLICT DO NOTHING RETURNING org_id, template_id
    )
    SELECT org_id, template_id FROM gone UNION SELECT org_id, template_id FROM come ORDER BY 1, 2
"""
SET_STALE = """
    UPDATE templates t SET conversions_stale = true FROM unnest($1::uuid[], $2::text[]) c (org_id, template_id)
    WHERE t.org_id = c.org_id AND t.template_id = c.template_id AND t.conversions IS NOT NULL
"""
# In one order everywhere, so that two transactions cannot wait for each other in a ring.
RAISE_ALL_DAYS = """
    WITH all_days AS (
        SELECT org_id, day FROM result_days WHERE org_id = ANY ($1::uuid[]) ORDER BY org_id, day FOR UPDATE
    )
    UPDATE result_days d SET revision = d.revision + 1 FROM all_days a WHERE d.org_id = a.org_id AND d.day = a.day
"""

SELECT_STALE_ORG = "SELECT org_id FROM templates WHERE conversions_stale ORDER BY org_id LIMIT 1"
# Whoever changes the definition meanwhile waits for us, and is counted next.
TAKE_STALE = "SELECT template_id FROM templates WHERE org_id = $1 AND conversions_stale ORDER BY 1 FOR UPDATE"
SETTLE_STALE = "UPDATE templates SET conversions_stale = false WHERE org_id = $1 AND template_id = ANY ($2::text[])"


async def follow_control(database: Database) -> None:
    """Note which emails are control's now, and have counted anew what that changes. Safe to repeat."""
    async with database.transaction() as connection:
        changed = await connection.fetch(FOLLOW_CONTROL)
        if changed:
            org_ids = [row["org_id"] for row in changed]
            await connection.execute(SET_STALE, org_ids, [row["template_id"] for row in changed])
            await connection.execute(RAISE_ALL_DAYS, sorted(set(org_ids)))


async def recount_one(database: Database) -> UUID | None:
    """Count one org's conversions by the present definitions; None when no template waits for it. Safe to repeat, and
    beside files that are loaded meanwhile."""
    await follow_control(database)
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
