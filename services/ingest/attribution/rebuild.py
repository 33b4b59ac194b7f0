"""All of an org's sends, conversions and rollups, computed anew from its events."""

from datetime import date, timedelta
from uuid import UUID

from services.ingest.attribution.attribute import recompute_sends
from services.ingest.attribution.conversions import orders_of
from services.ingest.counting.rollups import note_all_cells, roll_up
from services.ingest.loading.switch import STATEMENT_TIMEOUT_S
from shared.db.pool import Connection

SELECT_SEND_DAYS = """
    SELECT DISTINCT day FROM events
    WHERE org_id = $1 AND transmission_id IS NOT NULL
      AND metric IN ('Received Email', 'Bounced Email', 'Dropped Email')
    ORDER BY day
"""

TOUCH_DAY = """
    INSERT INTO touched
    SELECT transmission_id, min(least(day, (handoff_at AT TIME ZONE 'UTC')::date)), count(*) FROM events
    WHERE org_id = $1 AND day = $2 AND transmission_id IS NOT NULL
      AND metric IN ('Received Email', 'Bounced Email', 'Dropped Email')
    GROUP BY transmission_id
"""


async def send_days(connection: Connection, org_id: UUID) -> list[date]:
    """Days that have events of a sending. Without LOCK_ORG: it reads all events."""
    return [row["day"] for row in await connection.fetch(SELECT_SEND_DAYS, org_id, timeout=STATEMENT_TIMEOUT_S)]


async def recompute_day(connection: Connection, org_id: UUID, day: date, window: timedelta) -> None:
    """All sends that events of this day tell of. Within the caller's transaction, as `recount_orders`."""
    await connection.execute(TOUCH_DAY, org_id, day, timeout=STATEMENT_TIMEOUT_S)
    await recompute_sends(connection, await orders_of(connection, org_id), org_id, window)


async def recompute_rest(connection: Connection, org_id: UUID) -> None:
    """What days of sends alone do not tell: all orders and rollups. Within the caller's transaction, the same."""
    await note_all_cells(connection, org_id)
    await recount_orders(connection, org_id)


async def recount_orders(connection: Connection, org_id: UUID) -> None:
    """Attribute all orders of an org anew, as after a change of what its templates count. Within the caller's
    transaction, which holds LOCK_ORG and made the work tables."""
    orders = await orders_of(connection, org_id)
    await orders.recount_all()
    await roll_up(connection, org_id)
