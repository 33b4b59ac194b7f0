"""What configuration files say, as one; all that is wrong with them at once, by file, line and field. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from pydantic import ValidationError

from shared.admin.config.file import ConfigPart, ExportConfig, OrgConfig, SourceConfig
from shared.admin.errors import Fault
from shared.admin.operation import storable
from shared.admin.templates.reading import findings_of, place_in
from shared.admin.wording import what_is_wrong
from shared.admin.yaml_text import BadYaml, Document, documents
from shared.content.rules import OrgRules
from shared.content.served import serve
from shared.schemas.attributes import Attribute
from shared.schemas.copy import Vars
from shared.schemas.template_file import TemplateFile

_KIND: Final = "a configuration file"
_SECTIONS: Final = ("org", "rules", "attributes", "sources", "export", "templates")

Loc = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a document of a file, and the path in it."""

    file: str
    document: Document
    path: Loc = ()

    def fault(self, what: str, message: str, below: Loc = ()) -> Fault:
        """`acme.yaml:12: rules.voice`."""
        return Fault(f"{self.file}:{self.document.line((*self.path, *below))}: {what}", message)


@dataclass(frozen=True, slots=True)
class Named:
    """A template that a file holds, and what it holds as it was written."""

    file: TemplateFile
    raw: dict[str, Any]
    place: Place


@dataclass(slots=True)
class Wanted:
    """All files together. None, or empty: no file says anything of it."""

    org: OrgConfig | None = None
    rules: OrgRules | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    sources: list[SourceConfig] = field(default_factory=list)
    export: ExportConfig | None = None
    templates: list[Named] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (
            self.org or self.rules or self.attributes or self.sources or self.export or self.templates
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """What the copy's checks say. `texts`: what is served, by template and variant."""

    faults: Sequence[Fault]
    warnings: Sequence[str]
    texts: Mapping[tuple[str, str], Vars]


def read(files: Sequence[tuple[str, str]]) -> tuple[Wanted, list[Fault]]:
    """What files (name, text) say. What is faulty is left out of it."""
    wanted, faults = Wanted(), list[Fault]()
    seen: dict[str, Place] = {}
    for name, text in files:
        try:
            found = documents(text)
        except BadYaml as error:
            faults.append(Fault(f"{name}:{error.line}" if error.line else name, error.what))
            continue
        for document in found:
            faults += _read_document(wanted, Place(name, document), seen)
    if wanted.is_empty and not faults:
        faults.append(Fault(", ".join(name for name, _ in files) or "files", "says nothing of an org"))
    return wanted, faults


def slug_of(files: Sequence[tuple[str, str]]) -> str | None:
    """The org that the files are for, as far as they can be read."""
    for _, text in files:
        try:
            found = documents(text)
        except BadYaml:
            continue
        for document in found:
            org = document.content.get("org") if isinstance(document.content, dict) else None
            if isinstance(org, dict) and isinstance(org.get("slug"), str):
                return str(org["slug"])
    return None


def _read_document(wanted: Wanted, place: Place, seen: dict[str, Place]) -> Iterator[Fault]:
    content = place.document.content
    if not isinstance(content, dict):
        yield place.fault("the document", f"must have sections: {', '.join(_SECTIONS)}; or be a template")
    elif not storable(content):
        yield place.fault("the document", "holds a character that no text may hold (NUL, or half of a pair)")
    elif "template_id" in content:
        yield from _read_template(wanted, place, content, seen)
    else:
        listed = content.get("templates")
        if listed is not None and not isinstance(listed, list):
            yield place.fault("templates", "must be a list, each entry after a dash", ("templates",))
            listed = None
        for number, one in enumerate(listed or []):
            inside = Place(place.file, place.document, ("templates", number))
            yield from _read_template(wanted, inside, one, seen)
        yield from _read_part(wanted, place, content, seen)


def _read_part(wanted: Wanted, place: Place, content: dict[Any, Any], seen: dict[str, Place]) -> Iterator[Fault]:
    raw = {name: one for name, one in content.items() if name != "templates" and one is not None}
    try:
        part = ConfigPart.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=True):
            what = ".".join(str(step) for step in fault["loc"] if step != "[key]") or "the document"
            yield place.fault(what, said := what_is_wrong(fault, _KIND), _path(fault["loc"], said))
        return
    for name in ("org", "rules", "export"):
        if (said := getattr(part, name)) is not None:
            if twice := _twice(seen, name, Place(place.file, place.document, (name,))):
                yield twice
            setattr(wanted, name, said)
    for name, definition in part.attributes.items():
        if twice := _twice(seen, f"attributes.{name}", Place(place.file, place.document, ("attributes", name))):
            yield twice
        wanted.attributes[name] = definition
    for number, source in enumerate(part.sources):
        at = Place(place.file, place.document, ("sources", number))
        if twice := _twice(seen, f"source {source.name}", at):
            yield twice
        wanted.sources.append(source)


def _read_template(wanted: Wanted, place: Place, raw: Any, seen: dict[str, Place]) -> Iterator[Fault]:
    head = f"template {raw['template_id']}" if isinstance(raw, dict) and raw.get("template_id") else "template"
    try:
        file = TemplateFile.model_validate(raw)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            what = f"{head}, {place_in(raw, fault['loc'])}"
            yield place.fault(what, said := what_is_wrong(fault, "a template file"), _path(fault["loc"], said))
        return
    if twice := _twice(seen, head, place):
        yield twice
    wanted.templates.append(Named(file, raw, place))


def _path(loc: Loc, said: str) -> Loc:
    """What is wrong with several fields together names the first of them in its words."""
    return *loc, said.partition(":")[0]


def _twice(seen: dict[str, Place], what: str, place: Place) -> Fault | None:
    before = seen.setdefault(what, place)
    if before is place:
        return None
    where = f"{before.file}:{before.document.line(before.path)}"
    return place.fault(what, f"stands in {where}, too; keep one of them")


def judge(wanted: Wanted, rules: OrgRules, today: date, settled: Mapping[str, frozenset[str]]) -> Judged:
    """What the checks say of the copy, by these rules. `settled`: by template, variants that are there as the file has
    them: whatever the checks would say of them today, nothing is done with them."""
    faults: list[Fault] = []
    warnings: list[str] = []
    texts: dict[tuple[str, str], Vars] = {}
    for one in wanted.templates:
        done = settled.get(one.file.template_id, frozenset())
        stopped: set[str] = set()
        for finding in findings_of(one.raw, rules, today, settled=done):
            line = _line(one, finding.variant, finding.place, finding.line)
            fault = Fault(f"{one.place.file}:{line}: template {one.file.template_id}, {finding.where}", finding.what)
            if finding.warning:
                warnings.append(f"{fault.field}: {fault.message}")
            else:
                faults.append(fault)
                stopped.add(finding.variant)
        for variant in one.file.variants:
            if variant.name not in done | stopped:
                body = serve(variant.source).body
                texts[one.file.template_id, variant.name] = Vars(variant.subject, variant.preheader, body)
    return Judged(faults, warnings, texts)


def _line(one: Named, variant: str, place: str, line: int | None) -> int:
    """The file's line of a place in a variant's copy."""
    number = next(number for number, known in enumerate(one.file.variants) if known.name == variant)
    written = one.raw["variants"][number]
    name = "mjml" if place == "body" and "body" not in written else place
    path = (*one.place.path, "variants", number, name)
    return one.place.document.inside(path, line) if line is not None else one.place.document.line(path)
