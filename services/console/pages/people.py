"""Who works in the org: members and their roles, and who was invited."""

from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from services.console.web.errors import not_found
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.people import links, store
from shared.people.links import email_of
from shared.people.roles import Role

pages = Pages()


class NewInvite(BaseModel):
    """Whom to ask in, as what."""

    email: Annotated[str, Field(max_length=254), AfterValidator(email_of)]
    role: Role = "editor"


class ChangedRole(BaseModel):
    """What a member becomes."""

    role: Role


@pages.page("GET", "/{org}/people", role="viewer")
async def people(visit: Visit) -> web.StreamResponse:
    """Members and open invites."""
    return await _show(visit, Form({"role": "editor"}))


@pages.page("POST", "/{org}/people/invites", role="owner")
async def invite(visit: Visit) -> web.StreamResponse:
    """Make a link, shown this once: it is the owner who hands it over."""
    given, form = await read_form(visit.request, NewInvite)
    if given is None:
        return await _show(visit, form)
    token = links.mint(visit.console.people.random_bytes)
    async with visit.transaction() as connection:
        if await store.is_member(connection, visit.org.org_id, given.email):
            form.refuse("email", "is a member already")
        else:
            await store.invite_anew(
                connection, visit.console.people.new_id(), visit.org.org_id, links.digest(token), given.email,
                given.role, visit.account.name, visit.console.people.clock.now(),
            )  # fmt: skip
    if form.faulty:
        return await _show(visit, form)
    url = links.invite_url(visit.console.settings.console_url, token)
    return await _show(visit, Form({"role": "editor"}), made=(given.email, url))


@pages.page("POST", "/{org}/people/invites/{invite}/withdraw", role="owner")
async def withdraw(visit: Visit) -> web.StreamResponse:
    """Its link works no more."""
    async with visit.transaction() as connection:
        email = await store.withdraw_invite(connection, visit.org.org_id, _id(visit, "invite"))
    if email is None:
        raise not_found()
    await visit.notice(f"The invitation of {email} is withdrawn; its link does not work any more.")
    return visit.see_other(visit.path("people"))


@pages.page("POST", "/{org}/people/{user}/role", role="owner")
async def change_role(visit: Visit) -> web.StreamResponse:
    """From the next page on they may do more, or less."""
    given, form = await read_form(visit.request, ChangedRole)
    if given is None:
        return await _show(visit, form)
    try:
        async with visit.transaction() as connection:
            if not await store.change_role(connection, visit.org.org_id, _id(visit, "user"), given.role):
                raise not_found()
    except store.LastOwner as error:
        await visit.notice(f"Nothing was changed: {error}.", "warn")
    else:
        await visit.notice(f"The role is {given.role} now.")
    return visit.see_other(visit.path("people"))


@pages.page("POST", "/{org}/people/{user}/remove", role="owner")
async def remove(visit: Visit) -> web.StreamResponse:
    """Out of the org, at once."""
    try:
        async with visit.transaction() as connection:
            if not await store.remove_member(connection, visit.org.org_id, _id(visit, "user")):
                raise not_found()
    except store.LastOwner as error:
        await visit.notice(f"Nobody was removed: {error}.", "warn")
    else:
        await visit.notice("They do not work in this org any more.")
    return visit.see_other(visit.path("people"))


async def _show(visit: Visit, form: Form, made: tuple[str, str] | None = None) -> web.Response:
    async with visit.transaction() as connection:
        members = await store.members(connection, visit.org.org_id)
        invites = await store.open_invites(connection, visit.org.org_id, visit.console.people.clock.now())
    status = 422 if form.faulty else 200
    return visit.render("people.html", status, form=form, members=members, invites=invites, made=made)


def _id(visit: Visit, name: str) -> UUID:
    try:
        return UUID(visit.value(name))
    except ValueError:
        raise not_found() from None
