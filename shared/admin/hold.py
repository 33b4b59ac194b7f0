"""For operations that must see all that was told of an org's emails, or nothing of it."""

from typing import Final

import asyncpg

from shared.admin.context import Context
from shared.admin.errors import Conflict
from shared.event_lock import LOCK_ORG

WAIT_FOR_FILES: Final = "SET LOCAL lock_timeout = '15s'"
"""Half of the time that an operation has; most files are in by then."""


async def hold_events(context: Context) -> None:
    """No file of the org is brought in from here to the commit, and of those before it everything can be seen."""
    await context.connection.execute(WAIT_FOR_FILES)
    try:
        await context.connection.execute(LOCK_ORG, str(context.org_id))
    except asyncpg.LockNotAvailableError:
        raise Conflict("A file of events is being loaded; try again in a minute", code="events_are_loading") from None
