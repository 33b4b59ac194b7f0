"""One's own account: name, password, second factor, sessions."""

from datetime import timedelta
from typing import Annotated

from aiohttp import web
from markupsafe import Markup
from pydantic import BaseModel, Field, SecretStr

from services.console.people import second_factor, totp
from services.console.people.join_pages import NewPassword, password_of
from services.console.people.passwords import Busy
from services.console.people.remembering import remember
from services.console.people.signin_pages import signed_out
from services.console.people.signing_in import TooMany, password_is
from services.console.web.errors import no_passwords, not_found, too_many
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit

pages = Pages()

SET_NAME = "UPDATE users SET name = $2 WHERE user_id = $1"
# In place of the one that was checked: single sign-on may have ended it meanwhile.
CHANGE_PASSWORD = """
    UPDATE users SET password_hash = $2 WHERE user_id = $1 AND password_hash IS NOT DISTINCT FROM $3
"""  # noqa: S105  # a statement
SELECT_LINKED = "SELECT EXISTS (SELECT FROM identities WHERE user_id = $1 AND issuer = $2)"
_BUSY_WAIT_S = 3
_JUST_NOW = timedelta(minutes=10)


class NewName(BaseModel):
    """How others see one."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


class ChangedPassword(NewPassword):
    """A new one, by who knows the old one."""

    current: SecretStr


class Confirmed(BaseModel):
    """The password, asked for once more: a browser left open must not be enough."""

    current: SecretStr = SecretStr("")


class Code(Confirmed):
    """What the app shows."""

    code: str = ""


@pages.page("GET", "/_account", role="signed_in")
async def account(visit: Visit) -> web.StreamResponse:
    """Everything about oneself."""
    return await _show(visit)


@pages.page("POST", "/_account/name", role="signed_in")
async def change_name(visit: Visit) -> web.StreamResponse:
    """Another name."""
    given, form = await read_form(visit.request, NewName)
    if given is None:
        return await _show(visit, name_form=form)
    async with visit.console.database.transaction() as connection:
        await connection.execute(SET_NAME, visit.account.user_id, given.name)
        await remember(
            connection, visit.moment, "people.name", visit.account.user_id, visit.account.email, name=given.name
        )
    await visit.notice("Your name is changed.")
    return visit.see_other("/_account")


@pages.page("POST", "/_account/password", role="signed_in")
async def change_password(visit: Visit) -> web.StreamResponse:
    """Another password; every other session ends, since somebody else may have known the old one."""
    given, form = await read_form(visit.request, ChangedPassword)
    memberships = visit.signed_in.memberships if visit.signed_in else ()
    password = None
    if given is not None:
        orgs = [text for one in memberships for text in (one.name, one.slug)]
        password = password_of(given, form, email=visit.account.email, name=visit.account.name, orgs=orgs)
    if given is not None and not await _knows_password(visit, given.current):
        form.refuse("current", "is not right")
    if visit.console.settings.console_oidc_only:
        raise no_passwords()
    if password is None or form.faulty:
        return await _show(visit, password_form=form)
    people = visit.console.people
    try:
        password_hash = await people.hasher.hash(password)
    except Busy:
        raise too_many(_BUSY_WAIT_S) from None
    async with visit.console.database.transaction() as connection:
        before = visit.account.user_id, password_hash, visit.account.password_hash
        changed = await connection.execute(CHANGE_PASSWORD, *before) == "UPDATE 1"
        if changed:
            await remember(connection, visit.moment, "people.password", visit.account.user_id, visit.account.email)
    if not changed:
        form.refuse("current", "was changed or ended meanwhile")
        return await _show(visit, password_form=form)
    await people.sessions.end_all(visit.account.user_id, but=visit.caller.old)
    await visit.notice("Your password is changed. Every other browser was signed out.")
    return visit.see_other("/_account")


@pages.page("GET", "/_account/two-factor", role="signed_in")
async def two_factor(visit: Visit) -> web.StreamResponse:
    """The QR code to scan; or, where it is on already, back."""
    if visit.account.totp_since is not None:
        return visit.see_other("/_account")
    return await _show_secret(visit, Form())


@pages.page("POST", "/_account/two-factor", role="signed_in")
async def turn_on(visit: Visit) -> web.StreamResponse:
    """On, once the app shows the right digits."""
    given, form = await read_form(visit.request, Code)
    if given is None or not await _is_them(visit, given.current, form):
        return await _show_secret(visit, form)
    codes = await second_factor.confirm(visit.console.people, visit.account, given.code, visit.moment)
    if codes is None:
        form.refuse(
            "code", "does not fit; look whether the clock of your phone is right, and type the digits it shows now"
        )
        return await _show_secret(visit, form)
    await visit.console.people.sessions.end_all(visit.account.user_id, but=visit.caller.old)
    return visit.render("recovery_codes.html", codes=codes)


@pages.page("POST", "/_account/two-factor/off", role="signed_in")
async def turn_off(visit: Visit) -> web.StreamResponse:
    """Off, for who knows the password."""
    given, form = await read_form(visit.request, Confirmed)
    if given is None or not await _is_them(visit, given.current, form):
        return await _show(visit, off_form=form)
    await second_factor.turn_off(visit.console.people, visit.account, visit.moment)
    await visit.notice("Two-factor sign-in is off.", "warn")
    return visit.see_other("/_account")


@pages.page("POST", "/_account/two-factor/codes", role="signed_in")
async def fresh_codes(visit: Visit) -> web.StreamResponse:
    """New recovery codes, for who knows the password."""
    given, form = await read_form(visit.request, Confirmed)
    if visit.account.totp_since is None:
        return visit.see_other("/_account")
    if given is None or not await _is_them(visit, given.current, form):
        return await _show(visit, codes_form=form)
    codes = await second_factor.new_codes(visit.console.people, visit.account, visit.moment)
    return visit.render("recovery_codes.html", codes=codes)


@pages.page("POST", "/_account/sign-out-everywhere", role="signed_in")
async def sign_out_everywhere(visit: Visit) -> web.StreamResponse:
    """Every session ends, this one too."""
    await visit.console.people.sessions.end_all(visit.account.user_id)
    return signed_out(visit, "everywhere")


@pages.page("POST", "/_account/sessions/{session}/end", role="signed_in")
async def end_session(visit: Visit) -> web.StreamResponse:
    """One other browser is signed out."""
    try:
        digest = bytes.fromhex(visit.value("session"))
    except ValueError:
        raise not_found() from None
    if not await visit.console.people.sessions.end_one(visit.account.user_id, digest):
        raise not_found()
    if digest == visit.caller.old:
        return signed_out(visit, "signed-out")
    await visit.notice("That browser is signed out.")
    return visit.see_other("/_account")


async def _is_them(visit: Visit, password: SecretStr, form: Form) -> bool:
    """Whether it is the person, not somebody at a browser left open: by password, or, where there is none, by having
    just come from the provider. The form says why not."""
    if visit.account.password_hash is not None:
        if not await _knows_password(visit, password):
            form.refuse("current", "is not right")
    elif visit.signed_in and visit.console.people.clock.now() >= visit.signed_in.session.created_at + _JUST_NOW:
        form.refuse("current", "is too long ago: sign out, and sign in again")
    return not form.faulty


async def _knows_password(visit: Visit, password: SecretStr) -> bool:
    try:
        return await password_is(visit.console.people, visit.account, password.get_secret_value())
    except TooMany as error:
        raise too_many(error.wait_s) from None


async def _show(visit: Visit, **forms: Form) -> web.Response:
    people = visit.console.people
    has_factor = visit.account.totp_since is not None
    context = {
        "name_form": Form({"name": visit.account.name}),
        "password_form": Form(),
        "off_form": Form(),
        "codes_form": Form(),
        **forms,
    }
    return visit.render(
        "account.html",
        422 if forms else 200,
        sessions=await people.sessions.all_of(visit.account.user_id, people.clock.now()),
        this_session=visit.caller.old,
        signins=await people.sessions.signins_of(visit.account.user_id),
        linked=await _is_linked(visit),
        has_password=visit.account.password_hash is not None,
        asks_code=visit.console.settings.console_oidc_second_factor,
        codes_left=await second_factor.codes_left(people, visit.account) if has_factor else 0,
        **context,
    )


async def _is_linked(visit: Visit) -> bool:
    if visit.console.sign_on is None:
        return False
    async with visit.console.database.connection() as connection:
        issuer = visit.console.sign_on.provider.issuer
        return bool(await connection.fetchval(SELECT_LINKED, visit.account.user_id, issuer))


async def _show_secret(visit: Visit, form: Form) -> web.Response:
    secret = await second_factor.pending_secret(visit.console.people, visit.account)
    uri = totp.provisioning_uri(secret, visit.account.email)
    return visit.render(
        "two_factor.html",
        422 if form.faulty else 200,
        form=form,
        has_password=visit.account.password_hash is not None,
        secret=totp.grouped(secret),
        qr=Markup(totp.qr_svg(uri)),  # noqa: S704  # segno's own markup, of a text that it encodes
    )
