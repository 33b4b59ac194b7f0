"""The pages behind one-time links: an invitation, a password reset, and the set-up of a console without people."""

import hmac
import re
from collections.abc import Iterable
from typing import Annotated, Final

from aiohttp import web
from pydantic import BaseModel, Field, SecretStr

from services.console.people import joining
from services.console.people.joining import Gone, Invitation, Taken
from services.console.people.passwords import Busy, fault
from services.console.people.signin_pages import signed_out, with_session
from services.console.web.errors import no_passwords, not_found, too_many
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.people.links import BadEmail, email_of

pages = Pages()

_BUSY_WAIT_S: Final = 3
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
Name = Annotated[str, Field(min_length=1, max_length=100)]


class NewPassword(BaseModel):
    """A password, typed twice."""

    password: SecretStr
    again: SecretStr


class NewAccount(NewPassword):
    """What an invited person says."""

    name: Name


class FirstAccount(NewAccount):
    """What the first person says: also who they are, and for which org."""

    email: Annotated[str, Field(max_length=254)]
    org: str = "new"
    org_name: Annotated[str, Field(max_length=100)] = ""
    org_slug: Annotated[str, Field(max_length=63)] = ""


def password_of(given: NewPassword, form: Form, *, email: str, name: str = "", orgs: Iterable[str] = ()) -> str | None:
    """The password, where it will do; else the form says why not."""
    password = given.password.get_secret_value()
    if (why := fault(password, email=email, name=name, orgs=orgs)) is not None:
        form.refuse("password", why)
    elif password != given.again.get_secret_value():
        form.refuse("again", "is not the same as the first one")
    return None if form.faulty else password


# --- invited ---------------------------------------------------------------------------------------------------------


@pages.page("GET", "/_invite/{token}", role="anyone")
async def invite_page(visit: Visit) -> web.StreamResponse:
    """What it invites to, and what is still needed."""
    invited = await _invitation(visit)
    return visit.render("invite.html", invited=invited, form=Form()) if invited else _gone(visit)


@pages.page("POST", "/_invite/{token}", role="anyone")
async def invite_post(visit: Visit) -> web.StreamResponse:
    """Into the org, with the account there is, or a new one."""
    invited = await _invitation(visit)
    if invited is None:
        return _gone(visit)
    try:
        if invited.has_account:
            return await _join(visit, invited)
        return await _join_anew(visit, invited)
    except (Gone, Taken):
        return _gone(visit)
    except Busy:
        raise too_many(_BUSY_WAIT_S) from None


async def _join(visit: Visit, invited: Invitation) -> web.StreamResponse:
    if visit.signed_in is None or visit.account.email != invited.email:
        return visit.show_again("invite.html", invited=invited, form=Form())
    await joining.join(visit.console.people, invited, visit.account.user_id, visit.moment)
    await visit.notice(f"Welcome to {invited.org_name}.")
    return visit.see_other(f"/{invited.org_slug}/")


async def _join_anew(visit: Visit, invited: Invitation) -> web.StreamResponse:
    _require_passwords(visit)
    given, form = await read_form(visit.request, NewAccount)
    orgs = (invited.org_name, invited.org_slug)
    password = password_of(given, form, email=invited.email, name=given.name, orgs=orgs) if given else None
    if given is None or password is None:
        return visit.show_again("invite.html", invited=invited, form=form)
    begun = await joining.join_anew(visit.console.people, invited, given.name, password, visit.caller, visit.moment)
    return with_session(visit, begun, f"/{invited.org_slug}/")


async def _invitation(visit: Visit) -> Invitation | None:
    try:
        return await joining.invitation(visit.console.people, visit.value("token"))
    except Gone:
        return None


def _require_passwords(visit: Visit) -> None:
    if visit.console.settings.console_oidc_only:
        raise no_passwords()


def _gone(visit: Visit) -> web.StreamResponse:
    return visit.render("link_gone.html", 410)


# --- a new password --------------------------------------------------------------------------------------------------


@pages.page("GET", "/_reset/{token}", role="anyone")
async def reset_page(visit: Visit) -> web.StreamResponse:
    """Asks for the new password."""
    _require_passwords(visit)
    try:
        asked = await joining.asked_reset(visit.console.people, visit.value("token"))
    except Gone:
        return _gone(visit)
    return visit.render("reset.html", asked=asked, form=Form())


@pages.page("POST", "/_reset/{token}", role="anyone")
async def reset_post(visit: Visit) -> web.StreamResponse:
    """Sets it. Signing in comes after: who has the link has not shown the second factor."""
    people = visit.console.people
    _require_passwords(visit)
    try:
        asked = await joining.asked_reset(people, visit.value("token"))
        given, form = await read_form(visit.request, NewPassword)
        password = password_of(given, form, email=asked.email, name=asked.name) if given else None
        if password is None:
            return visit.show_again("reset.html", asked=asked, form=form)
        await joining.reset_password(people, visit.value("token"), asked, password, visit.moment)
    except Gone:
        return _gone(visit)
    except Busy:
        raise too_many(_BUSY_WAIT_S) from None
    return signed_out(visit, "password")


# --- the first person ------------------------------------------------------------------------------------------------


@pages.page("GET", "/_setup/{token}", role="anyone")
async def setup_page(visit: Visit) -> web.StreamResponse:
    """Only while there is nobody."""
    await _require_first(visit)
    orgs = await joining.orgs_there(visit.console.people)
    return visit.render(
        "setup.html", orgs=orgs, options=_options(orgs), form=Form({"org": str(orgs[0].org_id) if orgs else "new"})
    )


@pages.page("POST", "/_setup/{token}", role="anyone")
async def setup_post(visit: Visit) -> web.StreamResponse:
    """The first account, owner of its org."""
    await _require_first(visit)
    people = visit.console.people
    orgs = await joining.orgs_there(people)
    given, form = await read_form(visit.request, FirstAccount)
    first = _first(given, form, {str(org.org_id): org for org in orgs}) if given else None
    if first is None:
        return visit.show_again("setup.html", orgs=orgs, options=_options(orgs), form=form)
    try:
        begun = await joining.set_up(people, first, visit.caller, visit.moment)
    except Taken:
        form.refuse("org_slug", "is taken")
        return visit.show_again("setup.html", orgs=orgs, options=_options(orgs), form=form)
    except Gone:
        raise not_found() from None
    except Busy:
        raise too_many(_BUSY_WAIT_S) from None
    return with_session(visit, begun, "/")


def _options(orgs: list[joining.Org]) -> list[tuple[str, str]]:
    return [(str(org.org_id), f"{org.name} ({org.slug})") for org in orgs]


def _first(given: FirstAccount, form: Form, orgs: dict[str, joining.Org]) -> joining.First | None:
    email = ""
    try:
        email = email_of(given.email)
    except BadEmail as error:
        form.refuse("email", str(error))
    if given.org == "new":
        if not given.org_name:
            form.refuse("org_name", "is missing")
        if not _SLUG.fullmatch(given.org_slug):
            form.refuse("org_slug", "is made of lower-case letters, digits, - and _, and begins with a letter or digit")
    elif given.org not in orgs:
        form.refuse("org", "is none of the choices")
    known = orgs.get(given.org)
    named = (known.name, known.slug) if known else (given.org_name, given.org_slug)
    password = password_of(given, form, email=email, name=given.name, orgs=named)
    if password is None:
        return None
    return joining.First(email, given.name, password, known.org_id if known else None, given.org_slug, given.org_name)


async def _require_first(visit: Visit) -> None:
    if visit.console.settings.console_oidc_only:
        raise not_found()  # its account would have a password, which opens nothing
    peppers = visit.console.settings.api_key_peppers.get_secret_value()
    right = hmac.compare_digest(visit.value("token").encode(), joining.first_run_token(peppers).encode())
    if not right or not await joining.nobody_yet(visit.console.people):
        raise not_found()
