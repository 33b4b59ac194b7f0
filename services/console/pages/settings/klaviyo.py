"""Org Integration Settings: the connection to Klaviyo, its key verified, saved, rotated."""

from aiohttp import web
from pydantic import BaseModel, SecretStr

from services.console.pages.klaviyo_data import counted, read_by_the_way
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError, NotFound, Refused
from shared.admin.operation import Nothing
from shared.admin.orgs import klaviyo
from shared.admin.orgs.klaviyo import Connection
from shared.errors import Failure, Permanent

pages = Pages()


class PastedKey(BaseModel):
    """What is pasted. `anyway`: also a key of another account, or of fewer scopes."""

    private_key: SecretStr
    anyway: bool = False


@pages.page("GET", "/{org}/integration", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """What is connected, and what its key may do."""
    return await _show(visit, Form())


@pages.page("POST", "/{org}/integration/verify", role="editor")
async def verify(visit: Visit) -> web.StreamResponse:
    """What a pasted key may do; without one, what the stored one may do now. Nothing is stored."""
    given, form = await read_form(visit.request, PastedKey)
    found = None
    try:
        asked = klaviyo.PerhapsGivenKey(private_key=given.private_key if given is not None else None)
        found = await visit.run(klaviyo.verify, asked)
    except (AdminError, Failure) as error:
        _put(form, error)
    else:
        form.errors.clear()  # the key of the form is not missing: the stored one was looked at
    if visit.is_htmx:
        return visit.render("settings/_verified.html", verified=found, form=form, pasted=given is not None)
    return await _show(visit, form, verified=found, pasted=given is not None)


@pages.page("POST", "/{org}/integration", role="owner")
async def save(visit: Visit) -> web.StreamResponse:
    """The first key, or one in place of it: verified again, sealed, shown as its last four."""
    given, form = await read_form(visit.request, PastedKey)
    if given is None:
        return await _show(visit, form)
    try:
        found = await _save(visit, given)
    except (AdminError, Failure) as error:
        _put(form, error)
        return await _show(visit, form)
    lacks = "" if found.may_write else " It lacks Profiles: Write, so nothing can be written yet."
    name = f" to {found.account_name}" if found.account_name else ""
    await visit.notice(f"Connected{name} with the key that ends in {found.last4}.{lacks}", "warn" if lacks else "good")
    if read := await read_by_the_way(visit):
        await visit.notice(f"Read {counted(read)} from Klaviyo.")
    return visit.see_other(visit.path("integration"))


async def _save(visit: Visit, given: PastedKey) -> Connection:
    try:
        await visit.run(klaviyo.show, Nothing())
    except NotFound:
        return await visit.run(klaviyo.connect, klaviyo.KeyToStore(private_key=given.private_key))
    asked = klaviyo.KeyToStore(private_key=given.private_key, anyway=given.anyway)
    return await visit.run(klaviyo.rotate, asked)


def _put(form: Form, error: AdminError | Failure) -> None:
    """At the key, where it is the key's fault."""
    if isinstance(error, AdminError):
        form.refuse_all(error)
        if isinstance(error, Refused) or error.field:
            form.refuse("private_key", form.errors.pop("", error.message).rstrip("."))
    elif isinstance(error, Permanent):
        form.refuse("private_key", f"is not taken by Klaviyo. Copy it once more from Settings → API Keys ({error})")
    else:
        form.refuse("", f"Klaviyo could not be asked: {error}. Try again in a minute.")


async def _show(visit: Visit, form: Form, *, verified: Connection | None = None, pasted: bool = False) -> web.Response:
    try:
        connection: Connection | None = await visit.run(klaviyo.show, Nothing())
    except NotFound:
        connection = None
    return visit.render(
        "settings/klaviyo.html", 422 if form.faulty else 200, form=form, connection=connection, verified=verified,
        pasted=pasted,
    )  # fmt: skip
