"""The page about attributes shows what can be imported."""

import re
from pathlib import Path

import yaml

from shared.schemas.attributes import OrgAttributes
from shared.schemas.template_file import TemplateFile

PAGE = Path(__file__).parents[3] / "docs" / "attributes.md"


def test_the_examples_of_the_page_are_files_that_can_be_imported() -> None:
    org, template = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
    rest = {"template_id": "welcome", "name": "Welcome", "control": {"subject": "Hello", "body": "<p>Hello</p>"}}

    assert {one.kind for one in OrgAttributes.model_validate(org).attributes.values()} == {
        "string", "list", "number", "date",
    }  # fmt: skip
    read = TemplateFile.model_validate({**rest, **template, "attributes": org["attributes"]})
    assert (read.split.method, read.control_share, read.other_attrs) == ("persistent", 0.02, "ignore")
