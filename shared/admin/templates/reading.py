"""Whether what somebody wrote is a template that can be stored; everything that is wrong with it at once. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date

from pydantic import ValidationError

from shared.admin.errors import Fault
from shared.admin.wording import KINDS, what_is_wrong
from shared.content.checks import Asked, check_copy
from shared.content.faults import Finding
from shared.content.rules import DEFAULT, OrgRules
from shared.content.served import serve
from shared.schemas.copy import Vars
from shared.schemas.template_file import TemplateFile, VariantCopy


@dataclass(frozen=True, slots=True)
class Judged:
    """`template`: only where there is no fault; `warnings` stop nothing."""

    template: TemplateFile | None
    faults: Sequence[Fault]
    warnings: Sequence[Finding]


def judge(raw: object, rules: OrgRules = DEFAULT, today: date = date.min) -> Judged:
    """What is wrong with a template, in its author's words and by place.

    What only an approval needs stops a variant that the file approves, and is a warning of the others.
    """
    faults: list[Fault] = []
    parsed: TemplateFile | None = None
    try:
        parsed = TemplateFile.model_validate(raw)
    except ValidationError as error:
        faults += faults_of(raw, error)
    findings = findings_of(raw, rules, today)
    faults += [Fault(finding.where, finding.what) for finding in findings if not finding.warning]
    return Judged(None if faults else parsed, faults, [finding for finding in findings if finding.warning])


def findings_of(raw: object, rules: OrgRules, today: date, *, settled: Collection[str] = frozenset()) -> list[Finding]:
    """What the checks say of each variant whose shape is right; those that are `settled`, by name, are not looked at
    again, but the others are compared with them."""
    template_id = raw.get("template_id") if isinstance(raw, dict) else None
    findings: list[Finding] = []
    seen: dict[str, VariantCopy] = {}
    for variant in _variants(raw):
        asked = Asked(str(template_id), today, rules, tuple(_required(raw)), dict(seen))
        for finding in () if variant.name in settled else check_copy(variant, asked).findings:
            if finding.approval and not finding.warning and not variant.approved:
                finding = replace(finding, warning=True, what=f"{finding.what} (stops its approval)")
            findings.append(finding)
        seen[variant.name] = variant
    return findings


def served_texts(parsed: TemplateFile) -> dict[str, Vars]:
    """By variant, what is served of a template that was read without a fault."""
    return {one.name: Vars(one.subject, one.preheader, serve(one.source).body) for one in parsed.variants}


def faults_of(raw: object, error: ValidationError, kind: str = "a template file") -> list[Fault]:
    """Each fault with its place, in words for whoever wrote the file."""
    return [Fault(place_in(raw, fault["loc"]), what_is_wrong(fault, kind)) for fault in error.errors(include_url=False)]


def _variants(raw: object) -> list[VariantCopy]:
    """Those whose shape is right: their copy is judged even if something else in the file is wrong."""
    listed = raw.get("variants") if isinstance(raw, dict) else None
    found = []
    for one in listed if isinstance(listed, list) else []:
        try:
            found.append(VariantCopy.model_validate(one))
        except ValidationError:
            continue  # told by the model of the whole file
    return found


def _required(raw: object) -> list[str]:
    listed = raw.get("required_fields") if isinstance(raw, dict) else None
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def place_in(raw: object, loc: tuple[int | str, ...]) -> str:
    """`control.body`; a variant by its name."""
    if len(loc) > 1 and loc[0] == "variants" and isinstance(raw, dict):
        variant = raw["variants"][loc[1]]
        name = variant.get("name") if isinstance(variant, dict) else None
        number = f"number {int(loc[1]) + 1}"
        return ", ".join([f'variant "{name}"' if isinstance(name, str) else f"variant {number}", *map(str, loc[2:])])
    if len(loc) > 2 and loc[0] == "attributes" and loc[2] in KINDS:
        loc = (*loc[:2], *loc[3:])  # the kind is none of the file's own steps
    return ".".join(str(step) for step in loc if step != "[key]") or "the file"
