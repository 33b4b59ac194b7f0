"""Signing in and out, and where to go then."""

from typing import Final
from urllib.parse import urlencode

from aiohttp import web
from pydantic import BaseModel, SecretStr

from services.console.oidc.errors import SignInRefused
from services.console.people import joining
from services.console.people.signing_in import Begun, TooMany, id_token_place, pass_second_factor, sign_in
from services.console.web import cookies
from services.console.web.errors import no_passwords, too_many
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.security import local_path
from services.console.web.visit import Visit
from shared import logs
from shared.crypto import SealError

pages = Pages()
log = logs.get(__name__)

# What may be said on the sign-in page: fixed sentences, so that no link can put words there.
_DONE: Final = {
    "signed-out": "You are signed out.",
    "everywhere": "You are signed out everywhere.",
    "password": "Your password is set. Sign in with it.",
}


class SignIn(BaseModel):
    """Email and password."""

    email: str = ""
    password: SecretStr = SecretStr("")
    next: str = "/"


class Code(BaseModel):
    """Six digits, or a recovery code."""

    code: str = ""
    next: str = "/"


@pages.page("GET", "/", role="anyone")
async def start(visit: Visit) -> web.StreamResponse:
    """To the org, where there is one; else to whatever comes first."""
    if visit.signed_in is None:
        first = await joining.nobody_yet(visit.console.people)
        return visit.render("no_account.html") if first else visit.see_other("/_sign-in")
    memberships = visit.signed_in.memberships
    return visit.see_other(f"/{memberships[0].slug}/" if len(memberships) == 1 else "/_orgs")


@pages.page("GET", "/_orgs", role="signed_in")
async def orgs(visit: Visit) -> web.StreamResponse:
    """The orgs in which this person works."""
    return visit.render("orgs.html")


@pages.page("GET", "/_sign-in", role="anyone")
async def sign_in_page(visit: Visit) -> web.StreamResponse:
    """The form."""
    next_path = local_path(visit.request.query.get("next", "/")) or "/"
    if visit.signed_in is not None:
        return visit.see_other(next_path)
    # The provider sends who signed out there back with `state`.
    done = _DONE.get(visit.request.query.get("done", visit.request.query.get("state", "")))
    return show_sign_in(visit, Form({"next": next_path}), done=done)


@pages.page("POST", "/_sign-in", role="anyone")
async def sign_in_post(visit: Visit) -> web.StreamResponse:
    """A session, half or full; or one answer for everything that can be wrong."""
    given, form = await read_form(visit.request, SignIn)
    if visit.console.settings.console_oidc_only:
        raise no_passwords()
    begun = None
    if given is not None:
        try:
            begun = await sign_in(visit.console.people, given.email, given.password.get_secret_value(), visit.caller)
        except TooMany as error:
            raise too_many(error.wait_s) from None
    if given is None or begun is None:
        return show_sign_in(visit, form, status=422, wrong="Email or password are not right.")
    next_path = local_path(given.next) or "/"
    if begun.stage == "password":
        next_path = f"/_sign-in/code?{urlencode({'next': next_path})}"
    return with_session(visit, begun, next_path)


@pages.page("GET", "/_sign-in/code", role="anyone")
async def code_page(visit: Visit) -> web.StreamResponse:
    """The second factor is asked for."""
    if visit.half is None:
        return visit.see_other("/_sign-in")
    return visit.render("sign_in_code.html", form=Form({"next": visit.request.query.get("next", "/")}))


@pages.page("POST", "/_sign-in/code", role="anyone")
async def code_post(visit: Visit) -> web.StreamResponse:
    """The full session, where the code is right."""
    if visit.half is None:
        return visit.see_other("/_sign-in")
    given, form = await read_form(visit.request, Code)
    begun = None
    if given is not None:
        try:
            begun = await pass_second_factor(
                visit.console.people, visit.half.session, visit.half.account, given.code, visit.caller
            )
        except TooMany as error:
            raise too_many(error.wait_s) from None
    if given is None or begun is None:
        form.refuse("code", "is not right, or was used already; wait for the next one")
        return visit.show_again("sign_in_code.html", form=form)
    return with_session(visit, begun, local_path(given.next) or "/")


@pages.page("POST", "/_sign-out", role="anyone")
async def sign_out(visit: Visit) -> web.StreamResponse:
    """This browser's session ends; nobody else's."""
    ended = await visit.console.people.sessions.take(visit.caller.old) if visit.caller.old else None
    response = signed_out(visit, "signed-out")
    if ended is None or ended[0] != "provider" or visit.caller.old is None:
        return response
    elsewhere = await _sign_out_url(visit, visit.caller.old, ended[1])
    if elsewhere is not None:
        # A page of its own, since our policy lets no form lead to another host, not even by a redirect.
        response = visit.render("signing_out.html", elsewhere=elsewhere)
        response.headers["Refresh"] = f"0; url={elsewhere}"
        cookies.drop_session(response, visit.console.settings)
    return response


async def _sign_out_url(visit: Visit, digest: bytes, sealed: str | None) -> str | None:
    """Where the provider ends its own session. Ours is over already, whether or not it can be asked."""
    sign_on, ring = visit.console.sign_on, visit.console.ring
    if sign_on is None:
        return None
    try:
        return await sign_on.provider.sign_out_url(ring.open(sealed, id_token_place(digest)) if sealed else None)
    except (SignInRefused, SealError) as error:
        log.warning("oidc.not_signed_out_there", error=error)
        return None


def show_sign_in(
    visit: Visit, form: Form, *, status: int = 200, done: str | None = None, wrong: str | None = None
) -> web.Response:
    """The page, with one sentence about what was done or is wrong."""
    return visit.render("sign_in.html", status, form=form, done=done, wrong=wrong)


def with_session(visit: Visit, begun: Begun, path: str) -> web.Response:
    """Go on there with the new session."""
    response = visit.see_other(path)
    cookies.set_session(response, visit.console.settings, begun.token)
    return response


def signed_out(visit: Visit, done: str) -> web.Response:
    """To the sign-in page, which says what was done."""
    response = visit.see_other(f"/_sign-in?{urlencode({'done': done})}")
    cookies.drop_session(response, visit.console.settings)
    return response
