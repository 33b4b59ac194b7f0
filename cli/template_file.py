"""Reads a template's YAML file, or an org's attributes, or says everything that is wrong with it at once."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shared.admin.wording import KINDS, what_is_wrong
from shared.content.checks import Asked, check_copy
from shared.content.faults import Finding
from shared.content.rules import DEFAULT, OrgRules
from shared.content.served import serve
from shared.schemas.attributes import OrgAttributes
from shared.schemas.copy import Vars
from shared.schemas.template_file import TemplateFile, VariantCopy


class BadFile(Exception):
    """The file is no template that can be imported. The text lists every fault."""


class _Loader(yaml.SafeLoader):
    """YAML lets a key stand twice and takes the last one: half the variants could vanish by it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_attributes(file: Path) -> OrgAttributes:
    """What an org's file says of its attrs. Raises BadFile."""
    raw = load_yaml(file)
    try:
        return OrgAttributes.model_validate({} if raw is None else raw)
    except ValidationError as error:
        raise bad_file(file, faults_of(raw, error, "an attributes file")) from None


def read_template(file: Path, rules: OrgRules = DEFAULT, today: date = date.min) -> tuple[TemplateFile, list[Finding]]:
    """The template, and warnings about its copy. Raises BadFile.

    What only an approval needs stops a variant that the file approves, and is a warning of the others.
    """
    raw = load_yaml(file)
    faults: list[str] = []
    parsed: TemplateFile | None = None
    try:
        parsed = TemplateFile.model_validate(raw)
    except ValidationError as error:
        faults += faults_of(raw, error)
    findings = _findings(raw, rules, today)
    faults += [str(finding) for finding in findings if not finding.warning]
    if faults or parsed is None:
        raise bad_file(file, faults)
    return parsed, findings


def _findings(raw: object, rules: OrgRules, today: date) -> list[Finding]:
    template_id = raw.get("template_id") if isinstance(raw, dict) else None
    findings: list[Finding] = []
    seen: dict[str, VariantCopy] = {}
    for variant in _variants(raw):
        asked = Asked(str(template_id), today, rules, tuple(_required(raw)), dict(seen))
        for finding in check_copy(variant, asked).findings:
            if finding.approval and not finding.warning and not variant.approved:
                finding = replace(finding, warning=True, what=f"{finding.what} (stops its approval)")
            findings.append(finding)
        seen[variant.name] = variant
    return findings


def served_texts(parsed: TemplateFile) -> dict[str, Vars]:
    """By variant, what is served of a template that was read without a fault."""
    return {one.name: Vars(one.subject, one.preheader, serve(one.source).body) for one in parsed.variants}


def faults_of(raw: object, error: ValidationError, kind: str = "a template file") -> list[str]:
    """Each fault with its place, in words for whoever wrote the file."""
    return [f"{place_in(raw, fault['loc'])}: {what_is_wrong(fault, kind)}" for fault in error.errors(include_url=False)]


def bad_file(file: Path, faults: list[str]) -> BadFile:
    """All that is wrong with it."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return BadFile(f"{file} cannot be imported, {count}:\n" + "\n".join(f"  {fault}" for fault in faults))


def load_yaml(file: Path) -> object:
    """What a YAML file holds. Raises BadFile."""
    try:
        return yaml.load(file.read_text("utf-8"), _Loader)  # noqa: S506  # a SafeLoader
    except UnicodeDecodeError:
        raise BadFile(f"{file} is no UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadFile(f"{file}{mark} is no YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BadFile(f"{file} is no YAML: {error}") from None


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
