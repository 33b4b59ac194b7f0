"""Reads a template's YAML file, or an org's attributes, or says everything that is wrong with it at once."""

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from cli.given_file import called, text_of
from shared.admin.errors import Fault
from shared.admin.templates.reading import faults_of, judge
from shared.admin.yaml_text import BadYaml, one_document
from shared.content.faults import Finding
from shared.content.rules import DEFAULT, OrgRules
from shared.schemas.attributes import OrgAttributes
from shared.schemas.template_file import TemplateFile


class BadFile(Exception):
    """The file is no template that can be imported. The text lists every fault."""


def read_attributes(file: Path) -> OrgAttributes:
    """What an org's file says of its attrs. Raises BadFile."""
    raw = load_yaml(file)
    try:
        return OrgAttributes.model_validate({} if raw is None else raw)
    except ValidationError as error:
        raise bad_file(called(file), lines(faults_of(raw, error, "an attributes file"))) from None


def read_template(
    file: Path, rules: OrgRules = DEFAULT, today: date = date.min
) -> tuple[TemplateFile, Sequence[Finding]]:
    """The template, and warnings about its copy. Raises BadFile.

    What only an approval needs stops a variant that the file approves, and is a warning of the others.
    """
    judged = judge(load_yaml(file), rules, today)
    if judged.template is None:
        raise bad_file(called(file), lines(judged.faults))
    return judged.template, judged.warnings


def lines(faults: Iterable[Fault]) -> list[str]:
    """One for each fault: where, and what is wrong."""
    return [f"{fault.field}: {fault.message}" for fault in faults]


def bad_file(file: str, faults: list[str]) -> BadFile:
    """All that is wrong with it."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return BadFile(f"{file} cannot be imported, {count}:\n" + "\n".join(f"  {fault}" for fault in faults))


def load_yaml(file: Path) -> object:
    """What a YAML file holds. Raises BadFile."""
    return read_yaml(read_text(file), called(file))


def read_text(file: Path) -> str:
    """A file's text. Raises BadFile."""
    try:
        return text_of(file)
    except UnicodeDecodeError:
        raise BadFile(f"{called(file)} is no UTF-8 text") from None


def read_yaml(text: str, file: str) -> object:
    """What a text of this name holds. Raises BadFile."""
    try:
        return one_document(text, aliases=True)
    except BadYaml as error:
        mark = f", line {error.line}" if error.line else ""
        raise BadFile(f"{file}{mark} {error.what}") from None
