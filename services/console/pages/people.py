"""Who works in the org: members and their roles, and who was invited."""

from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.access import people, people_reset
from shared.admin.errors import Conflict, Refused
from shared.admin.operation import Nothing
from shared.people.links import email_of
from shared.people.roles import Role
from shared.sentences import ended

pages = Pages()


class NewInvite(BaseModel):
    """Whom to ask in, as what."""

    email: Annotated[str, Field(max_length=254), AfterValidator(email_of)]
    role: Role = "editor"


class ChangedRole(BaseModel):
    """What a member becomes."""

    role: Role


class WantedReset(BaseModel):
    """Whether the phone is lost, too."""

    second_factor: bool = False


@pages.page("GET", "/{org}/people", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """Members and open invites."""
    return await _show(visit, Form({"role": "editor"}))


@pages.page("POST", "/{org}/people/invites", role="owner")
async def invite(visit: Visit) -> web.StreamResponse:
    """Make a link, shown this once: it is the owner who hands it over."""
    given, form = await read_form(visit.request, NewInvite)
    if given is None:
        return await _show(visit, form)
    try:
        made = await visit.run(people.invite, people.Invite(email=given.email, role=given.role))
    except Refused as error:
        form.refuse_all(error)
        return await _show(visit, form)
    return await _show(
        visit, Form({"role": "editor"}), made=(made.email, visit.console.settings.console_url + made.path)
    )


@pages.page("POST", "/{org}/people/invites/{invite}/withdraw", role="owner")
async def withdraw(visit: Visit) -> web.StreamResponse:
    """Its link works no more."""
    done = await visit.run(people.withdraw, people.OneInvitation(invite=visit.value("invite")))
    await visit.notice(f"The invitation of {done.email} is withdrawn; its link does not work any more.")
    return visit.see_other(visit.path("people"))


@pages.page("POST", "/{org}/people/{user}/role", role="owner")
async def change_role(visit: Visit) -> web.StreamResponse:
    """From the next page on they may do more, or less."""
    given, form = await read_form(visit.request, ChangedRole)
    if given is None:
        return await _show(visit, form)
    try:
        await visit.run(people.change_role, people.ChangeRole(member=visit.value("user"), role=given.role))
    except Conflict as error:
        await visit.notice(f"Nothing was changed: {ended(str(error))}", "warn")
    else:
        await visit.notice(f"The role is {given.role} now.")
    return visit.see_other(visit.path("people"))


@pages.page("POST", "/{org}/people/{user}/reset", role="owner")
async def reset(visit: Visit) -> web.StreamResponse:
    """Make a link for a new password, shown this once."""
    given, _ = await read_form(visit.request, WantedReset)
    asked = people_reset.ResetMember(
        member=visit.value("user"), second_factor=given is not None and given.second_factor
    )
    try:
        made = await visit.run(people_reset.reset, asked)
    except Refused as error:
        await visit.notice(f"No link was made. This person {ended(error.message)}", "warn")
        return visit.see_other(visit.path("people"))
    return await _show(
        visit, Form({"role": "editor"}), reset=(made.email, visit.console.settings.console_url + made.path)
    )


@pages.page("POST", "/{org}/people/{user}/remove", role="owner")
async def remove(visit: Visit) -> web.StreamResponse:
    """Out of the org, at once."""
    try:
        await visit.run(people.remove, people.OneMember(member=visit.value("user")))
    except Conflict as error:
        await visit.notice(f"Nobody was removed: {ended(str(error))}", "warn")
    else:
        await visit.notice("They do not work in this org any more.")
    return visit.see_other(visit.path("people"))


async def _show(
    visit: Visit, form: Form, made: tuple[str, str] | None = None, reset: tuple[str, str] | None = None
) -> web.Response:
    found = await visit.run(people.list_people, Nothing())
    status = 422 if form.faulty else 200
    return visit.render(
        "people.html", status, form=form, members=found.members, invites=found.invites, made=made, reset=reset
    )
