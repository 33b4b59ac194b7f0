"""What a configuration file may hold, and the schema that editors read."""

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from shared.admin import yaml_text
from shared.admin.config.file import schema
from shared.admin.config.reading import read, slug_of

ROOT = Path(__file__).parents[3]


def test_the_schema_takes_the_example_of_the_docs_and_refuses_what_is_misspelled() -> None:
    Draft202012Validator.check_schema(schema())
    [example] = re.findall(
        r"```yaml\n(# acme\.yaml\n.*?)```", (ROOT / "docs" / "config-files.md").read_text(), re.DOTALL
    )
    check = Draft202012Validator(schema())

    documents = [one.content for one in yaml_text.documents(example.replace("2026-12-24", '"2026-12-24"'))]

    assert [list(check.iter_errors(one)) for one in documents] == [[], []]
    misspelled: list[Any] = [{"orgs": {}}, {"org": {"nam": "x"}}, {"template_id": "x", "nam": "x"}]
    for wrong in (*misspelled, {"sources": [{"name": "x"}]}):
        assert list(check.iter_errors(wrong)) != []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "x.yaml: says nothing of an org"),
        ("# nothing\n---\n", "x.yaml: says nothing of an org"),
        ("templates: {a: 1}", "x.yaml:1: templates: must be a list, each entry after a dash"),
        ('org: {name: "a\\0"}', "x.yaml:1: the document: holds a character that no text may hold"),
        ("a: &x 1\nb: *x", "x.yaml:2: uses an alias (*); write it out"),
        ("org:\n  name: a\n  name: b", "x.yaml:3: is no YAML: 'name' stands twice"),
        ("a: 1\nb: " + "[" * 60 + "]" * 60, "x.yaml:2: is nested more than 50 deep"),
        ("[" * 500_000, "x.yaml:1: is nested more than 50 deep"),
        ("a: 2026-13-45", "x.yaml: is no YAML: month must be in 1..12"),
        ("export:\n  secret_key: x", "x.yaml:2: export: secret_key: is a secret, which must not stand in a file"),
        ("export: {bucket: b, external_id: x}", "x.yaml:1: export: external_id: is ours, one per org; take it out"),
        ("export: {bucket: records-s3alias}", "x.yaml:1: export: bucket: is the name of an access point"),
        (
            'export: {bucket: records, endpoint_url: "https://s3.example.com"}',
            "x.yaml:1: export: endpoint_url: is reached with an access key or a role alone",
        ),
        ("rules:\n  promo_codes:\n    - A B", "x.yaml:3: rules.promo_codes.0.code: has the wrong form"),
        ("org: {name: a}\n---\norg: {name: b}", "x.yaml:3: org: stands in x.yaml:1, too; keep one of them"),
    ],
)
def test_what_cannot_be_read_is_told_by_file_and_line(text: str, fault: str) -> None:
    _, faults = read([("x.yaml", text)])

    assert f"{faults[0].field}: {faults[0].message}".startswith(fault)
    assert len(faults) == 1


def test_the_org_is_found_beside_files_that_cannot_be_read() -> None:
    assert slug_of([("a", "a: ["), ("b", "- 1"), ("c", "template_id: x\n---\norg: {slug: acme}")]) == "acme"
    assert slug_of([("a", "org: {slug: 1}")]) is None
