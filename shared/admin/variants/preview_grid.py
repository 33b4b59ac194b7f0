"""Variants × people, rendered as the generator renders them, the worst first. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from typing import Any
from uuid import UUID

from shared.content.faults import check_variant
from shared.content.fields import read_fields
from shared.rendering.copy import CompiledCopy, RenderError, compile_copy
from shared.rendering.language import NotInTheLanguage, parse_body, parse_header
from shared.rendering.link_fields import link_fields
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.template_file import VariantCopy

LONG_VALUE = "Maximiliane-Alexandrina Featherstonehaugh & Söhne " * 3
"""What a value looks like that nobody thought of."""
LINK = "https://shop.example/"
LONG_LINK = f"{LINK}{'maximiliane-alexandrina-featherstonehaugh/' * 3}"
"""The same where a link begins with the value: one that is none would lead nowhere."""

# The first that fits the name of a field; `3` also where the copy computes with it.
_EXAMPLES = (
    (r"first_?name", "Ada"),
    (r"last_?name|surname", "Lovelace"),
    (r"name", "Ada Lovelace"),
    (r"mail", "ada@shop.example"),
    (r"url|link|image|picture|href", LINK),
    (r"date|day$|birthday|until|expires", "24 December"),
    (r"count|points|total|amount|price|number|qty|quantity|age$|days|items|score|percent|discount", "3"),
    (r"city|town", "London"),
    (r"country", "England"),
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to render for. `attrs` are shown beside it: they decide which variant, never what it says."""

    name: str
    attrs: Mapping[str, Any]
    fields: Mapping[str, str]

    @property
    def key(self) -> str:
        """Short, and the same as long as the person is."""
        return blake2s(self.name.encode(), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant as stored, whatever its state."""

    copy_id: UUID
    name: str
    state: str
    version: int
    subject: str
    preheader: str
    body: str


@dataclass(frozen=True, slots=True)
class Cell:
    """What one variant says to one person: `shown`, or the `reason` why the email would show control. `missing`: fields
    that the copy names and the person has not; `findings`: what the checks say of the variant."""

    variant: Variant
    person: Person
    shown: Vars | None
    reason: str | None
    missing: Sequence[str]
    findings: Sequence[str]


def grid(variants: Iterable[Variant], people: Sequence[Person]) -> list[Cell]:
    """Every cell, the worst first: what shows control, what checks complain of, missing fields, the longest subject."""
    cells: list[Cell] = []
    for variant in variants:
        compiled, fields = _compiled(variant), fields_of(variant)
        findings = _findings(variant)
        cells += [_cell(variant, person, compiled, fields, findings) for person in people]
    return sorted(cells, key=_badness)


def fields_of(variant: Variant) -> frozenset[str]:
    """The fields that a variant names; none where it cannot be read."""
    try:
        parsed = (parse_header(variant.subject), parse_header(variant.preheader), parse_body(variant.body))
    except NotInTheLanguage:
        return frozenset()
    return frozenset().union(*(read_fields(one).all for one in parsed))


def link_fields_of(variant: Variant) -> frozenset[str]:
    """Those of them that a link of the body begins with."""
    compiled = _compiled(variant)
    return frozenset() if isinstance(compiled, RenderError) else link_fields(compiled.body)


def sampled(
    attrs: Iterable[Mapping[str, Any]], fields: Iterable[str], links: Collection[str] = frozenset()
) -> list[Person]:
    """People with these attrs and an example for each field, since fields are never stored; and the two that copy is
    broken by: one without any field, one whose every value is long. `links`: the fields that links begin with."""
    names = sorted(fields)
    examples = examples_of(names, links)
    people = [Person(_named(one), one, examples) for one in attrs] or [Person("example", {}, examples)]
    return [*people, Person("nobody's fields", {}, {}), Person("long values", {}, long_values_of(names, links))]


def examples_of(fields: Iterable[str], links: Collection[str]) -> dict[str, str]:
    """A value for each field that it may well have."""
    return {name: LINK if name in links else example(name) for name in fields}


def long_values_of(fields: Iterable[str], links: Collection[str]) -> dict[str, str]:
    """A value for each field that is longer than its author thought of."""
    return {name: LONG_LINK if name in links else LONG_VALUE for name in fields}


def example(field: str) -> str:
    """A value that the field may well have, by its name."""
    name = field.lower()
    return next((value for pattern, value in _EXAMPLES if re.search(pattern, name)), name.replace("_", " "))


def _named(attrs: Mapping[str, Any]) -> str:
    pairs = (
        f"{name}={', '.join(map(str, value)) if isinstance(value, list) else value}" for name, value in attrs.items()
    )
    return ", ".join(pairs)[:120] or "no attrs"


def _compiled(variant: Variant) -> CompiledCopy | RenderError:
    source = VariantSource(variant.copy_id, variant.version, variant.subject, variant.preheader, variant.body)
    try:
        return compile_copy(source)
    except RenderError as error:
        return error
    except Exception as error:  # noqa: BLE001  # as in the generator: one variant's text costs nobody else the look
        return RenderError("copy_broken", type(error).__name__)


def _findings(variant: Variant) -> list[str]:
    copy = VariantCopy.model_construct(
        name=variant.name, subject=variant.subject, preheader=variant.preheader, body=variant.body
    )
    found = check_variant(copy, fields_of(variant))  # fields that may be missing are what the cells show
    return [f"{one.place}: {one.what}" for one in found]


def _cell(
    variant: Variant,
    person: Person,
    compiled: CompiledCopy | RenderError,
    fields: frozenset[str],
    findings: Sequence[str],
) -> Cell:
    missing = sorted(fields - person.fields.keys())
    if isinstance(compiled, RenderError):
        return Cell(variant, person, None, compiled.reason, missing, findings)
    try:
        shown = compiled.render(dict(person.fields))
    except RenderError as error:
        return Cell(variant, person, None, error.reason, missing, findings)
    return Cell(variant, person, shown, None, missing, findings)


def _badness(cell: Cell) -> tuple[bool, int, int, int, str, str]:
    subject_chars = len(cell.shown.subject) if cell.shown else 0
    return (
        cell.shown is not None,
        -len(cell.findings),
        -len(cell.missing),
        -subject_chars,
        cell.variant.name,
        cell.person.name,
    )
