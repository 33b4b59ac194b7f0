"""The recipe for AWS Glue, done as it is written."""

import re
from pathlib import Path
from typing import Any

import yaml

GLUE = Path(__file__).parents[3] / "deploy/glue"


class Template(yaml.SafeLoader):
    """CloudFormation's own tags are read as what they are written on."""


Template.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_scalar(node))


def test_the_command_says_every_parameter_that_the_template_needs() -> None:
    template: dict[str, Any] = yaml.load((GLUE / "template.yaml").read_text(), Template)  # a safe loader
    page = (GLUE / "README.md").read_text()
    command = page.split("cloudformation deploy")[1].split("`")[0]

    needed = {name for name, said in template["Parameters"].items() if "Default" not in said}
    assert needed
    assert needed <= set(re.findall(r"(\w+)=", command))


def test_what_lies_on_this_machine_is_copied_to_where_the_job_reads() -> None:
    page = (GLUE / "README.md").read_text()

    assert "justai lake inputs" in page
    assert "aws s3 cp --recursive" in page
