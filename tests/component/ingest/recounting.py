"""All of an org computed anew, as somebody asks for it: what files and settings left behind must be the same."""

from datetime import timedelta
from uuid import UUID

from services.ingest.attribution.recounts import StoredRecounts
from shared.admin.orgs.recounting import ASK
from shared.clock import FrozenClock
from shared.db.pool import Database


async def recount_all(database: Database, org_id: UUID, window: timedelta = timedelta(days=1)) -> int:
    """To its end; how many steps it took, one for each day of sending and two beside them."""
    now = FrozenClock().now()
    async with database.connection() as connection:
        await connection.execute(ASK, org_id, now)
    stored, steps = StoredRecounts(database, window), 0
    while await stored.recount_some(now):
        steps += 1
    return steps
