"""The operator's one-time link that signs an owner in, for the day on which the provider lets nobody in."""

from uuid import UUID

from aiohttp import web

from services.console.people.remembering import Moment, remember
from services.console.people.signin_pages import with_session
from services.console.people.signing_in import Means, begin
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.people import links

pages = Pages()

SELECT_LINK = """
    SELECT u.user_id, u.email, u.totp_since IS NOT NULL AS two_factor
    FROM signin_links l JOIN users u USING (user_id) WHERE l.digest = $1 AND l.expires_at > $2
"""
USE_LINK = "DELETE FROM signin_links WHERE digest = $1 AND expires_at > $2 RETURNING user_id"


@pages.page("GET", "/_let-in/{token}", role="anyone")
async def show(visit: Visit) -> web.StreamResponse:
    """A button: a program that looks at links in messages must not use it up."""
    people = visit.console.people
    async with people.database.connection() as connection:
        row = await connection.fetchrow(SELECT_LINK, links.digest(visit.value("token")), people.clock.now())
    if row is None:
        return visit.render("link_gone.html", 410)
    return visit.render("let_in.html", email=row["email"], two_factor=row["two_factor"])


@pages.page("POST", "/_let-in/{token}", role="anyone")
async def use(visit: Visit) -> web.StreamResponse:
    """The session; half a one where the person has turned two-factor sign-in on."""
    people = visit.console.people
    found = await _use(people, links.digest(visit.value("token")), visit.moment)
    if found is None:
        return visit.render("link_gone.html", 410)
    user_id, two_factor = found
    begun = await begin(people, user_id, "password" if two_factor else "full", visit.caller, "link")
    return with_session(visit, begun, "/_sign-in/code" if two_factor else "/")


async def _use(people: Means, digest: bytes, moment: Moment) -> tuple[UUID, bool] | None:
    now = people.clock.now()
    async with people.database.transaction() as connection:
        row = await connection.fetchrow(SELECT_LINK, digest, now)
        if row is None or await connection.fetchval(USE_LINK, digest, now) is None:
            return None
        await remember(connection, moment, "people.let_in_used", row["user_id"], row["email"])
    return row["user_id"], row["two_factor"]
