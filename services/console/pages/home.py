"""An org's home: what is set up, what is next, what happened lately."""

from aiohttp import web

from services.console.web.next_steps import next_steps
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.operation import Nothing
from shared.admin.orgs import setting_up
from shared.admin.outcomes.shown_store import reading_of

pages = Pages()

_LATELY_H = 24.0

SELECT_STOPPED = "SELECT stopped_at FROM orgs"
SELECT_LATELY = """
    SELECT coalesce(sum(emails), 0)::bigint AS asked,
        coalesce(sum(emails) FILTER (WHERE decision = 'treatment'), 0)::bigint AS treated
    FROM found
"""
SELECT_LAST_AT = """
    SELECT accepted_at FROM generations WHERE day >= $1::date AND accepted_at >= $2
    ORDER BY accepted_at DESC LIMIT 1
"""


@pages.page("GET", "/{org}/", role="viewer")
async def home(visit: Visit) -> web.StreamResponse:
    """The first page of an org."""
    there = await visit.run(setting_up.show, Nothing())
    async with visit.transaction() as connection:
        stopped_at = await connection.fetchval(SELECT_STOPPED)
        reading = await reading_of(connection, visit.org.org_id, _LATELY_H, visit.now)
        (lately,) = await reading.fetch(connection, SELECT_LATELY)
        last_at = await connection.fetchval(SELECT_LAST_AT, reading.since, reading.since)
    return visit.render(
        "home.html", there=there, steps=next_steps(visit, there), stopped_at=stopped_at, lately=lately, last_at=last_at
    )
