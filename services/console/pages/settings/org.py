"""What holds for all of an org: its time zone, its rules for copy, and what the attrs of its webhooks mean."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import yaml
from aiohttp import web
from pydantic import BaseModel, Field

from services.console.web.ask_back import agreed, ask_back
from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError, Conflict, Refused
from shared.admin.operation import Nothing
from shared.admin.orgs import content_rules, orgs
from shared.admin.yaml_text import BadYaml, one_document
from shared.content.rules import OrgRules

pages = Pages()

_Long = Annotated[str, Field(max_length=200_000)]


class TypedZone(BaseModel):
    """Empty: UTC."""

    time_zone: Annotated[str, Field(max_length=100)] | None = None


class TypedRules(BaseModel):
    """Lists have one entry a line; what ends has its last day behind it. `expected`: of which rules the page was."""

    expected: Annotated[str, Field(max_length=64)] | None = None
    review_required: bool = False
    missing_default: Literal["blocking", "warning"] = "blocking"
    banned_words: _Long = ""
    banned_claims: _Long = ""
    promo_codes: _Long = ""
    end_dates: _Long = ""
    voice: _Long = ""


class TypedName(BaseModel):
    """What people see of the org."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


class TypedAttributes(BaseModel):
    """As a file of `justai org attributes import`."""

    attributes: _Long = ""


# --- time zone -------------------------------------------------------------------------------------------------------


@pages.page("GET", "/{org}/integration/org", role="viewer")
async def show_zone(visit: Visit) -> web.StreamResponse:
    """In which zone times are shown, and date attributes read."""
    found = await visit.run(orgs.show, Nothing())
    return _zone(visit, Form({"time_zone": found.time_zone or ""}))


@pages.page("POST", "/{org}/integration/org", role="editor")
async def set_zone(visit: Visit) -> web.StreamResponse:
    """Another zone; moments stay what they are."""
    given, form = await read_form(visit.request, TypedZone)
    if given is None:
        return _zone(visit, form)
    try:
        found = await visit.run(orgs.set_zone, {"time_zone": given.time_zone})
    except Refused as error:
        form.refuse_all(error)
        return _zone(visit, form)
    await visit.notice(f"{visit.org.name} lives in {found.time_zone or 'UTC'}.")
    return visit.see_other(visit.path("integration", "org"))


@pages.page("POST", "/{org}/integration/org/name", role="owner")
async def rename(visit: Visit) -> web.StreamResponse:
    """Another name; the slug, which stands in the webhook's URL, stays."""
    given, form = await read_form(visit.request, TypedName)
    if given is not None:
        try:
            found = await visit.run(orgs.rename, {"name": given.name})
        except Refused as error:
            form.refuse_all(error)
        else:
            await visit.notice(f"It is called {found.name} now; webhooks go on as they are.")
            return visit.see_other(visit.path("integration", "org"))
    there = await visit.run(orgs.show, Nothing())
    return _zone(visit, Form({"time_zone": there.time_zone or ""}), form)


def _zone(visit: Visit, form: Form, name: Form | None = None) -> web.Response:
    name = name or Form({"name": visit.org.name})
    zones = sorted(one for one in available_timezones() if "/" in one and not one.startswith(("Etc/", "SystemV/")))
    status = 422 if form.faulty or name.faulty else 200
    return visit.render("settings/org.html", status, form=form, name=name, zones=zones)


# --- rules for copy --------------------------------------------------------------------------------------------------


@pages.page("GET", "/{org}/integration/rules", role="viewer")
async def show_rules(visit: Visit) -> web.StreamResponse:
    """What copy is checked against."""
    found = await visit.run(content_rules.show_rules, Nothing())
    return visit.render("settings/rules.html", form=Form({**_typed(found.rules), "expected": found.digest}))


@pages.page("POST", "/{org}/integration/rules", role="owner")
async def set_rules(visit: Visit) -> web.StreamResponse:
    """All of them; they hold from the next check on."""
    given, form = await read_form(visit.request, TypedRules)
    if given is not None:
        try:
            await visit.run(content_rules.set_rules, {"rules": _rules(given), "expected": given.expected})
        except (Refused, Conflict) as error:
            form.refuse_all(error, "rules")
    if form.faulty:
        return visit.show_again("settings/rules.html", form=form)
    await visit.notice("The rules are saved. They hold from the next check, import or approval.")
    return visit.see_other(visit.path("integration", "rules"))


def _typed(rules: OrgRules) -> dict[str, str]:
    """The rules as the form shows them."""
    return {
        "review_required": "true" if rules.review_required else "",
        "missing_default": rules.missing_default,
        "banned_words": "\n".join(rules.banned_words),
        "banned_claims": "\n".join(rules.banned_claims),
        "promo_codes": "\n".join(f"{one.code} {one.ends or ''}".rstrip() for one in rules.promo_codes),
        "end_dates": "\n".join(f"{template} {day}" for template, day in rules.end_dates.items()),
        "voice": rules.voice,
    }


def _rules(given: TypedRules) -> dict[str, Any]:
    """The form as the operation takes it, which finds what is wrong with it."""
    codes = [line.split(maxsplit=1) for line in _lines(given.promo_codes)]
    ends = [line.split(maxsplit=1) for line in _lines(given.end_dates)]
    return {
        "review_required": given.review_required,
        "missing_default": given.missing_default,
        "banned_words": _lines(given.banned_words),
        "banned_claims": _lines(given.banned_claims),
        "promo_codes": [{"code": code, "ends": (rest[0].strip() if rest else None)} for code, *rest in codes],
        "end_dates": {template: rest[0].strip() if rest else "" for template, *rest in ends},
        "voice": given.voice,
    }


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


# --- attributes ------------------------------------------------------------------------------------------------------


@pages.page("GET", "/{org}/integration/attributes", role="viewer")
async def show_attributes(visit: Visit) -> web.StreamResponse:
    """What is defined, as a table and as it can be changed."""
    found = await visit.run(content_rules.show_attributes, Nothing())
    text = yaml.safe_dump(found.attributes, sort_keys=False, allow_unicode=True) if found.attributes else ""
    return await _show_attributes(visit, Form({"attributes": text}), found.attributes)


async def _show_attributes(visit: Visit, form: Form, defined: Mapping[str, Any]) -> web.Response:
    return visit.render("settings/attributes.html", 422 if form.faulty else 200, form=form, attributes=defined)


@pages.page("POST", "/{org}/integration/attributes", role="editor")
async def set_attributes(visit: Visit) -> web.StreamResponse:
    """All of them; what is left out is a plain text again. The zone stays."""
    given, form = await read_form(visit.request, TypedAttributes)
    before = await visit.run(content_rules.show_attributes, Nothing())
    if given is not None:
        try:
            read = _read(given.attributes)
            told = _left_out(before.attributes, read)
            if not await agreed(visit, told):
                back = partial(_show_attributes, visit, form, before.attributes)
                return await ask_back(visit, "Leave these attributes out?", told, "Save without them", back=back)
            wanted = {"time_zone": before.time_zone, "attributes": read}
            done = await visit.run(content_rules.set_attributes, {"definitions": wanted})
        except ValueError as error:
            form.refuse("attributes", str(error))
        except AdminError as error:
            faults = error.faults if isinstance(error, Refused) else ()
            told = [f"{fault.field.removeprefix('definitions.attributes.')} {fault.message}" for fault in faults]
            form.refuse("attributes", "cannot be taken: " + ("; ".join(told[:5]) or error.message))
    if form.faulty:
        return await _show_attributes(visit, form, before.attributes)
    number = len(done.attributes)
    await visit.notice(f"{number} attribute{'' if number == 1 else 's'} defined; served within 5 seconds.")
    return visit.see_other(visit.path("integration", "attributes"))


def _left_out(before: Mapping[str, Any], read: Any) -> list[str]:
    """Definitions that vanish, by name."""
    gone = [name for name in before if isinstance(read, dict) and name not in read]
    return [f"{name} is not defined any more: from the next webhook on it is a plain text." for name in gone]


def _read(text: str) -> Any:
    """Raises ValueError with the line that is no YAML."""
    try:
        return one_document(text) or {}
    except BadYaml as error:
        where = f" in line {error.line}" if error.line else ""
        raise ValueError(f"cannot be read{where}: it {error.what}") from None
