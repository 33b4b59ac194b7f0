"""“Refresh Klaviyo Data” by the way: where a page has just learned that there is something to read."""

import asyncio
from typing import Final

from services.console.web.visit import Visit
from shared.admin.errors import AdminError
from shared.admin.operation import Nothing
from shared.admin.orgs import flows
from shared.errors import Failure

_AT_MOST_S: Final = 5.0  # an account with many flows takes longer: there the button is left to whoever asks


async def read_by_the_way(visit: Visit) -> flows.Flows | None:
    """What was read; None where this person may not, Klaviyo would not, or it would have taken too long. What was read
    before stays then, and the button says why."""
    if not visit.may(flows.sync.role):
        return None
    try:
        async with asyncio.timeout(_AT_MOST_S):
            return await visit.run(flows.sync, Nothing())
    except (TimeoutError, AdminError, Failure):
        return None


def counted(found: flows.Flows) -> str:
    """How much there is: flows, and their emails."""
    count, emails = len({step.flow_id for step in found.steps}), len(found.steps)
    return f"{count} {'flow' if count == 1 else 'flows'} with {emails} {'email' if emails == 1 else 'emails'}"
