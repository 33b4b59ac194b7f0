"""API keys: made and shown once, rotated with an overlap, revoked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from services.console.web.forms import Form, read_form
from services.console.web.next_steps import NextStep, what_is_next
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.access import keys
from shared.admin.errors import Refused
from shared.admin.operation import Nothing

pages = Pages()


class NewKey(BaseModel):
    """What is typed for a new key."""

    name: Annotated[str, Field(max_length=200)]
    kind: keys.Scope = "generate"
    days: Annotated[int, Field(ge=1, le=3650)] | None = None


class Overlap(BaseModel):
    """How long the old key goes on."""

    keep_hours: Annotated[float, Field(ge=0, le=24 * 90)] = keys.KEEPS_H


@dataclass(frozen=True, slots=True)
class Shown:
    """A key that was just made, with what to do with it."""

    name: str
    key: str
    scopes: tuple[str, ...]
    old_shown: str = ""
    old_ends: datetime | None = None


@pages.page("GET", "/{org}/keys", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """All keys; those that work first."""
    return await _show(visit, Form())


@pages.page("POST", "/{org}/keys", role="owner")
async def create(visit: Visit) -> web.StreamResponse:
    """A key, shown this once."""
    given, form = await read_form(visit.request, NewKey)
    if given is None:
        return await _show(visit, form)
    scopes = () if given.kind == "generate" else (given.kind,)
    try:
        made = await visit.run(keys.create, keys.CreateKey(name=given.name, scopes=scopes, days=given.days))
    except Refused as error:
        form.refuse_all(error)
        return await _show(visit, form)
    shown = Shown(made.name, made.key, tuple(made.scopes))
    return await _show(visit, Form(), made=shown, own_next=await what_is_next(visit))


@pages.page("POST", "/{org}/keys/{key}/rotate", role="owner")
async def rotate(visit: Visit) -> web.StreamResponse:
    """Another key of the same name and scopes; the old one goes on for a while."""
    given, form = await read_form(visit.request, Overlap)
    if given is None:
        await visit.notice(f"Nothing was rotated: the overlap {form.error('keep_hours')}.", "warn")
        return visit.see_other(visit.path("keys"))
    made = await visit.run(keys.rotate, keys.RotateKey(key=visit.value("key"), keep_hours=given.keep_hours))
    known = (await visit.run(keys.list_keys, Nothing())).keys
    scopes = next((tuple(one.scopes) for one in known if one.key_id == made.key_id), ())
    return await _show(visit, Form(), made=Shown(made.name, made.key, scopes, made.old_shown, made.old_expires_at))


@pages.page("POST", "/{org}/keys/{key}/revoke", role="owner")
async def revoke(visit: Visit) -> web.StreamResponse:
    """No request with it is taken any more."""
    done = await visit.run(keys.revoke, keys.NamedKey(key=visit.value("key")))
    await visit.notice(f"{', '.join(done.revoked)} is revoked; it is refused everywhere within 5 seconds.")
    return visit.see_other(visit.path("keys"))


async def _show(visit: Visit, form: Form, made: Shown | None = None, own_next: NextStep | None = None) -> web.Response:
    found = (await visit.run(keys.list_keys, Nothing())).keys
    works = [one for one in found if one.revoked_at is None and (one.expires_at is None or one.expires_at > visit.now)]
    return visit.render(
        "settings/keys.html", 422 if form.faulty else 200, form=form, made=made, working=works,
        ended=[one for one in reversed(found) if one not in works], keeps_h=keys.KEEPS_H, own_next=own_next,
    )  # fmt: skip
