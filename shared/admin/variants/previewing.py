"""What variants say to people before anybody gets them: saved ones as a grid, and one that is being written."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.admin.context import Context
from shared.admin.errors import NotFound, Refused
from shared.admin.operation import AskedModel, ResultModel, operation
from shared.admin.templates.one import no_template
from shared.admin.templates.store import place_of
from shared.admin.variants import preview_grid
from shared.admin.variants import store as variant_store
from shared.admin.variants.preview_grid import Cell, Person, Variant
from shared.admin.variants.variants import Finding, rows_of
from shared.admin.wording import what_is_wrong
from shared.content.checks import Asked, check_copy
from shared.schemas.template_file import VariantCopy
from shared.webhook_values import MISSING_FIELDS, text_of

MOST_PEOPLE = 1_000
MOST_CELLS = 5_000
"""Rendered at once: each takes some 0.1 ms, and a hostile one up to 10."""
_SAMPLED_DAYS = 7
_NOBODY = UUID(int=0)

# The newest of each kind of attrs, out of the newest requests: people who look alike are one.
SELECT_ATTRS = """
    SELECT attrs FROM (
        SELECT DISTINCT ON (attrs) attrs, accepted_at FROM (
            SELECT attrs, accepted_at FROM generations
            WHERE org_id = $1 AND template_id = $2 AND day >= $3 AND accepted_at >= $4
              AND decision IN ('treatment', 'control')
            ORDER BY accepted_at DESC LIMIT 10000
        ) newest ORDER BY attrs, accepted_at DESC
    ) kinds ORDER BY accepted_at DESC LIMIT $5
"""
# What is to be approved, else what is served: that is what somebody wants to look at.
SELECT_VARIANTS = """
    SELECT v.copy_id, v.name, v.state, t.version, t.subject, t.preheader, t.body
    FROM variants v JOIN variant_versions t
      ON t.copy_id = v.copy_id AND t.version = coalesce(v.proposed_version, v.version)
    WHERE v.org_id = $1 AND v.template_id = $2
    ORDER BY v.created_at, v.name
"""


def _text(value: Any) -> Any:
    """As the gateway takes it: numbers and truth values are text."""
    if isinstance(value, bool):
        return text_of(value)
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_text)]


class GivenPerson(BaseModel):
    """Somebody to render for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    attrs: dict[str, Text | list[Text]] = {}
    fields: dict[str, Text | None] = {}


class AskedPreview(AskedModel):
    """`people`: else `sample` kinds of people of the last 7 days, one without any field and one with long values; of
    those, `who` by name or key, where some are named. `offset` and `limit`: which part of the cells."""

    template_id: str
    people: list[GivenPerson] = Field(default_factory=list, max_length=MOST_PEOPLE)
    sample: int = Field(5, ge=1, le=100)
    who: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=110)
    variant: str | None = Field(None, description="Only this one.")
    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1)] | None = None


class PreviewCell(ResultModel):
    """What one variant says to one person; without `subject` and `body` the email would show control, for `reason`."""

    copy_id: UUID
    variant: str
    state: str
    version: int
    person: str
    subject: str | None
    preheader: str | None
    body: str | None
    reason: str | None
    missing: list[str]
    findings: list[str]


class PreviewPerson(ResultModel):
    """Somebody that there is to look at; `looked_at` false: was left out by `who`."""

    key: str
    name: str
    looked_at: bool


class PreviewGrid(ResultModel):
    """The worst first. `total`: of how many cells these are a part; `control`: how many of all would show control."""

    total: int
    control: int
    people: list[PreviewPerson]
    cells: list[PreviewCell]


class TryVariant(AskedModel):
    """Texts that are not saved. `person`: with an example for each field, without any field, or with long values."""

    template_id: str
    variant: str = ""
    subject: str = ""
    preheader: str = ""
    body: str = ""
    person: Literal["example", "nobody", "long"] = "example"


class Tried(ResultModel):
    """What the checks say, and what the person would see. `shown` is false: control, for `reason`."""

    findings: list[Finding]
    fields: list[str]
    shown: bool
    subject: str
    preheader: str
    body: str
    reason: str | None


@operation(
    "templates.preview", "POST", "/templates/{template_id}/preview", "viewer",
    "Show what variants say to people, the worst first; nothing is stored, sent or counted.", changes=False,
)  # fmt: skip
async def preview(context: Context, asked: AskedPreview) -> PreviewGrid:
    people, cells = await _grid(context, asked)
    until = None if asked.limit is None else asked.offset + asked.limit
    return PreviewGrid(
        total=len(cells), control=sum(cell.shown is None for cell in cells), people=people,
        cells=[_row(cell) for cell in cells[asked.offset : until]],
    )  # fmt: skip


async def _grid(context: Context, asked: AskedPreview) -> tuple[list[PreviewPerson], list[Cell]]:
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    if await place_of(connection, org_id, template_id) is None:
        raise no_template(template_id)
    rows = await connection.fetch(SELECT_VARIANTS, org_id, template_id)
    variants = [
        Variant(**dict(row))
        for row in rows
        if (
            row["state"] != "archived" if asked.variant is None else asked.variant in (row["name"], str(row["copy_id"]))
        )
    ]
    if not variants:
        known = ", ".join(f"{row['name']!r} ({row['state']})" for row in rows)
        what = f"no variant {asked.variant!r}" if asked.variant else "no variant that is not archived"
        raise NotFound(f"Template {template_id!r} has {what}. Variants: {known or 'none'}", field="variant")
    people = people_of(asked.people) or preview_grid.sampled(
        await _attrs(context, template_id, asked.sample),
        frozenset().union(*map(preview_grid.fields_of, variants)),
        frozenset().union(*map(preview_grid.link_fields_of, variants)),
    )
    wanted = [one for one in people if not asked.who or one.key in asked.who or one.name in asked.who]
    if not wanted:
        known = ", ".join(f"{one.name!r} ({one.key})" for one in people)
        raise NotFound(f"Nobody of these is there: {', '.join(asked.who)}. People: {known}", field="who")
    if len(variants) * len(wanted) > MOST_CELLS:
        asked_for = f"{len(variants)} variants for {len(wanted)} people"
        what = f"{asked_for} are more than the {MOST_CELLS:,} previews made at once; name one variant, or fewer people"
        raise Refused(what, field="people")
    picked = set(map(id, wanted))
    named = [PreviewPerson(key=one.key, name=one.name, looked_at=id(one) in picked) for one in people]
    return named, await asyncio.to_thread(preview_grid.grid, variants, wanted)


@operation(
    "variants.try", "POST", "/templates/{template_id}/try", "viewer",
    "Check and render texts that are not saved.", changes=False,
)  # fmt: skip
async def try_texts(context: Context, asked: TryVariant) -> Tried:
    connection, org_id, template_id = context.connection, context.org_id, asked.template_id
    template = await connection.fetchrow(variant_store.SELECT_REQUIRED, org_id, template_id)
    if template is None:
        raise no_template(template_id)
    name = asked.variant or "this variant"
    given = {"name": name, "subject": asked.subject, "preheader": asked.preheader, "body": asked.body}
    try:
        copy = VariantCopy.model_validate(given)
    except ValidationError as error:
        return _untried(asked, name, error)
    stored = await variant_store.read_variants(connection, org_id, template_id, hold=False)
    others = variant_store.others_of(stored, without=asked.variant)
    rules = await variant_store.read_rules(connection, org_id)
    looked_at = Asked(template_id, context.now.date(), rules, tuple(template["required_fields"]), others)
    return await asyncio.to_thread(_tried, copy, looked_at, asked.person)


def _tried(copy: VariantCopy, looked_at: Asked, person: str) -> Tried:
    reading = check_copy(copy, looked_at)
    findings = rows_of(reading.findings)
    if reading.served is None:
        return Tried(findings=findings, fields=[], shown=False, subject="", preheader="", body="", reason="not_served")
    variant = Variant(_NOBODY, copy.name, "draft", 1, *reading.served)
    fields = sorted(preview_grid.fields_of(variant))
    [cell] = preview_grid.grid([variant], [person_of(person, fields, preview_grid.link_fields_of(variant))])
    shown = cell.shown
    return Tried(
        findings=findings, fields=fields, shown=shown is not None, subject=shown.subject if shown else "",
        preheader=shown.preheader if shown else "", body=shown.body if shown else "", reason=cell.reason,
    )  # fmt: skip


def person_of(kind: str, fields: Sequence[str], links: Collection[str] = frozenset()) -> Person:
    """The one of this kind, with these fields; links begin with those among `links`."""
    values = {
        "example": preview_grid.examples_of(fields, links),
        "long": preview_grid.long_values_of(fields, links),
    }
    return Person(kind, {}, values.get(kind, {}))


def _untried(asked: TryVariant, name: str, error: ValidationError) -> Tried:
    faults = [
        Finding(
            check="form", place=str(fault["loc"][0]) if fault["loc"] else "body", line=None,
            what=what_is_wrong(fault).removeprefix("body: "), warning=False, where=name,
        )
        for fault in error.errors(include_url=False)
    ]  # fmt: skip
    return Tried(findings=faults, fields=[], shown=False, subject="", preheader="", body="", reason="not_served")


def people_of(given: Sequence[GivenPerson]) -> list[Person]:
    """Without the fields that are missing to the gateway. What it mends (escapes, control characters, lists that were
    pasted) is no matter here: the values are given, not pasted."""
    return [
        Person(one.name or f"person {number}", one.attrs, _not_missing(one.fields))
        for number, one in enumerate(given, start=1)
    ]


def _not_missing(fields: Mapping[str, str | None]) -> dict[str, str]:
    stripped = {name: (value or "").strip() for name, value in fields.items()}
    return {name: text for name, text in stripped.items() if text not in MISSING_FIELDS}


async def _attrs(context: Context, template_id: str, sample: int) -> list[Mapping[str, Any]]:
    since = context.now - timedelta(days=_SAMPLED_DAYS)
    rows = await context.connection.fetch(SELECT_ATTRS, context.org_id, template_id, since.date(), since, sample)
    return [row["attrs"] for row in rows]


def _row(cell: Cell) -> PreviewCell:
    shown = cell.shown
    return PreviewCell(
        copy_id=cell.variant.copy_id, variant=cell.variant.name, state=cell.variant.state,
        version=cell.variant.version, person=cell.person.name, subject=shown and shown.subject,
        preheader=shown and shown.preheader, body=shown and shown.body, reason=cell.reason,
        missing=list(cell.missing), findings=list(cell.findings),
    )  # fmt: skip
