"""What attrs mean, in and out of the database: by org, and by template."""

import json
from pathlib import Path

import pytest
import yaml

from services.gateway.reader import read_webhook
from simulator.flow.templating import person_variables, render
from simulator.profile import ProfileState
from tests.component.cli.rig import Cli

ORG_FILE = """time_zone: Europe/Berlin
attributes:
  plan:
    kind: string
    options:
      pro:
      - premium
      - /^pro /
      free: []
    default: free
  since:
    kind: date
    edges:
    - 0
    - 30
"""
TEMPLATE = {
    "template_id": "welcome",
    "name": "Welcome",
    "control": {"subject": "Control", "body": "<p>Control</p>"},
    "attributes": {"orders": {"kind": "number", "edges": [1, 5]}},
    "other_attrs": "ignore",
    "split": {"method": "persistent", "control_ratio": 0.1, "salt": "autumn"},
    "control_share": 0.02,
    "repeat": "allow",
}
SELECT_CHOICE = """
    SELECT attributes, other_attrs, split, control_ratio, split_salt, control_share, repeats, updated_at FROM templates
"""


def written(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_an_orgs_attributes_are_shown_as_the_file_that_was_imported(acme: Cli, tmp_path: Path) -> None:
    said = acme.ok("org", "attributes", "import", "acme", written(tmp_path / "a.yaml", ORG_FILE))

    assert said == "acme has 2 attributes; served within 5 seconds.\n"
    assert acme.ok("org", "attributes", "show", "acme") == ORG_FILE


def test_an_org_without_attributes_shows_a_file_that_can_be_imported(acme: Cli, tmp_path: Path) -> None:
    shown = acme.ok("org", "attributes", "show", "acme")

    assert shown == "attributes: {}\n"
    acme.ok("org", "attributes", "import", "acme", written(tmp_path / "a.yaml", shown))


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("time_zone: Mars\n", "time_zone: 'Mars' is no time zone; it is called like Europe/Berlin"),
        ("attributes: {plan: {kind: string, default: ' '}}\n", "attributes.plan.default: is blank"),
        ("plan: {kind: string}\n", "plan: is no field of an attributes file; is it misspelled?"),
        ("- plan\n", "the file: must have fields of its own, one a line, indented"),
    ],
)
def test_a_fault_is_told_by_attribute_and_field_and_nothing_is_changed(
    acme: Cli, tmp_path: Path, file: str, says: str
) -> None:
    message = acme.error("org", "attributes", "import", "acme", written(tmp_path / "a.yaml", file))

    assert message.endswith(f"cannot be imported, 1 fault:\n  {says}")
    assert acme.value("SELECT attributes::text FROM orgs") == "{}"


def test_a_template_brings_its_choice_and_importing_it_again_changes_nothing(acme: Cli, tmp_path: Path) -> None:
    file = written(tmp_path / "welcome.yaml", TEMPLATE)
    acme.ok("template", "import", "acme", file)
    [row] = acme.rows(SELECT_CHOICE)
    before = acme.everything()

    acme.ok("template", "import", "acme", file)

    assert acme.everything() == before
    assert row["attributes"] == '{"orders":{"kind":"number","edges":[1.0,5.0]}}'
    assert (row["other_attrs"], row["split"], row["control_ratio"]) == ("ignore", "persistent", 0.1)
    assert (row["split_salt"], row["control_share"], row["repeats"]) == ("autumn", 0.02, "allow")


def test_what_a_template_file_does_not_say_is_as_it_was_before_there_was_such_a_setting(
    acme: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "welcome.yaml"
    acme.ok("template", "import", "acme", written(file, TEMPLATE))
    kept = {key: value for key, value in TEMPLATE.items() if key in ("template_id", "name", "control")}

    acme.ok("template", "import", "acme", written(file, kept))

    [row] = acme.rows(SELECT_CHOICE)
    row.pop("updated_at")
    assert [*row.values()] == ["{}", "pass", "external", 0.0, "", 0.0, "avoid"]


def pasted(cli: Cli) -> tuple[dict[str, str], str]:
    """The attrs of the body that the webhook step is to hold, and what is said below it."""
    body, _, below = cli.ok("webhook", "acme", "welcome").partition("JSON body:\n")[2].partition("\n}\n")
    return json.loads(body + "}")["attrs"], below


def test_the_webhooks_body_reads_each_attribute_of_org_and_template_from_the_person(acme: Cli, tmp_path: Path) -> None:
    acme.ok("template", "import", "acme", written(tmp_path / "t.yaml", {**TEMPLATE, "attributes": {}}))
    assert pasted(acme) == ({}, "")
    acme.ok("org", "attributes", "import", "acme", written(tmp_path / "a.yaml", ORG_FILE))
    own = {
        "orders": {"kind": "number", "edges": [1, 5]}, "größe": {"kind": "string"}, "Bob's": {"kind": "string"},
        "since": {"kind": "number", "edges": [3]},
    }  # fmt: skip
    acme.ok("template", "import", "acme", written(tmp_path / "t.yaml", {**TEMPLATE, "attributes": own}))

    attrs, below = pasted(acme)

    assert attrs == {
        "plan": "{{ person|lookup:'plan'|default:'' }}",
        "since": "{{ person|lookup:'since' }}",  # the template's own: a number, whose 0 is not to be replaced
        "orders": "{{ person|lookup:'orders' }}",
        "größe": "{{ person|lookup:'größe'|default:'' }}",
    }
    assert "must be spelled as the profile property is in Klaviyo" in below
    assert "\"bob's\" cannot stand in a tag of Klaviyo's" in below


@pytest.mark.parametrize(("orders", "read"), [(0, "0"), (7, "7"), (None, "")])
def test_klaviyo_renders_that_body_so_that_a_zero_stays_one_and_nothing_is_missing(
    acme: Cli, tmp_path: Path, orders: int | None, read: str
) -> None:
    acme.ok("template", "import", "acme", written(tmp_path / "t.yaml", TEMPLATE))
    body = acme.ok("webhook", "acme", "welcome").partition("JSON body:\n")[2].partition("\n}\n")[0] + "}"
    state = ProfileState({"first_name": "Ada"}, {} if orders is None else {"orders": orders})

    rendered = render(body, {"person": person_variables("AbCd12", state, None)}, autoescape=True)
    webhook = read_webhook(rendered.encode())

    assert webhook.attrs.get("orders", "") == read
