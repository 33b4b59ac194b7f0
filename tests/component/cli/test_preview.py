"""`justai preview` as a person runs it: what it shows, where its people come from, and that it leaves no trace."""

import json
from pathlib import Path

import pytest

from tests.component.cli.facts import a_generation, cli_at_now
from tests.component.cli.rig import Cli

FILE = """
template_id: welcome
name: Welcome
state: draft
flow: {flow_id: WELC01, treatment_action_id: "70000012"}
required_fields: [city]
control: {subject: Control, preheader: Calm, body: <p>Control</p>}
variants:
  - {name: Warm, approved: true, subject: "Hi {{ first_name | default: 'you' }}", body: "<p>Warm in {{ city }}</p>"}
  - {name: Cold, subject: Hello, body: <p>Cold</p>}
"""


@pytest.fixture
def cli(database_url: str) -> Cli:
    """At a time at which generations are recent."""
    return cli_at_now(database_url)


@pytest.fixture
def shop(acme: Cli, tmp_path: Path) -> Cli:
    (tmp_path / "welcome.yaml").write_text(FILE)
    acme.ok("template", "import", "acme", str(tmp_path / "welcome.yaml"))
    return acme


def people(tmp_path: Path, given: object) -> str:
    path = tmp_path / "people.json"
    path.write_text(given if isinstance(given, str) else json.dumps(given))
    return str(path)


def test_people_of_a_file_are_shown_every_variant_drafts_too_the_worst_first(shop: Cli, tmp_path: Path) -> None:
    given = [
        {"name": "Ada", "fields": {"first_name": "Ada", "city": 7}},
        {"fields": {"first_name": "Bo", "city": None}},
    ]
    out = tmp_path / "grid.html"

    said = shop.ok("preview", "acme", "welcome", "--people", people(tmp_path, given), "--out", str(out)).splitlines()

    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in said]
    assert ["Warm", "person 2", "control: field_missing", "without city"] in rows
    assert ["Warm", "Ada", "our copy", "Hi Ada", "6"] in rows
    assert rows.index(["Warm", "person 2", "control: field_missing", "without city"]) == 2
    assert "4 renderings; 1 would show the control content." in said
    assert "&lt;p&gt;Warm in 7&lt;/p&gt;" in out.read_text()


def test_more_previews_than_are_made_at_once_are_refused(acme: Cli, tmp_path: Path) -> None:
    more = "".join(f"  - {{name: V{n}, subject: Hello {n}, body: <p>{n}</p>}}\n" for n in range(4))
    (tmp_path / "welcome.yaml").write_text(FILE + more)
    acme.ok("template", "import", "acme", str(tmp_path / "welcome.yaml"))
    many = people(tmp_path, [{"name": f"person {n}"} for n in range(1_000)])

    refused = acme.line("preview", "acme", "welcome", "--people", many)
    one = acme.ok("preview", "acme", "welcome", "--people", many, "--variant", "Cold")

    assert "6 variants for 1000 people are more than the 5,000 previews made at once" in refused
    assert "1000 renderings" in one.replace(",", "")


def test_sampled_people_are_the_kinds_that_came_lately(shop: Cli) -> None:
    for decision in ("treatment", "preview"):
        a_generation(shop, decision=decision)
    shop.rows("UPDATE generations SET attrs = $1::jsonb WHERE decision = 'treatment'", '{"plan": "pro"}')
    shop.rows("UPDATE generations SET attrs = $1::jsonb WHERE decision = 'preview'", '{"plan": "looked at"}')

    said = shop.ok("preview", "acme", "welcome", "--variant", "Warm")

    assert "plan=pro" in said
    assert "looked at" not in said
    assert "nobody's fields" in said
    assert "Cold" not in said
    chosen = shop.ok("preview", "acme", "welcome", "--who", "plan=pro", "--who", "long values")
    assert "plan=pro" in chosen
    assert "long values" in chosen
    assert "nobody's fields" not in chosen
    nobody = shop.line("preview", "acme", "welcome", "--who", "plan=free")
    assert "Nobody of these is there: plan=free. People: 'plan=pro' (" in nobody


def test_made_up_people_have_an_address_where_a_link_begins(acme: Cli, tmp_path: Path) -> None:
    body = """<p>Cold</p><img src='{{ photo | default: "" }}' alt='x'>"""
    (tmp_path / "welcome.yaml").write_text(FILE.replace("<p>Cold</p>", json.dumps(body)))
    acme.ok("template", "import", "acme", str(tmp_path / "welcome.yaml"))

    said = acme.ok("preview", "acme", "welcome", "--variant", "Cold")

    assert "long values" in said
    assert "unsafe_link" not in said


def test_nothing_is_stored(shop: Cli, tmp_path: Path) -> None:
    before = shop.everything()
    shop.ok("preview", "acme", "welcome")
    shop.ok("preview", "acme", "welcome", "--people", people(tmp_path, [{}]), "--out", str(tmp_path / "x.html"))

    assert shop.everything() == before


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("no json", "people.json: Invalid JSON"),
        ("[]", "people.json: List should have at least 1 item"),
        ([{}, {"fields": {"first_name": ["Ada"]}}], "person 2: fields.first_name: "),
        ([{"field": {}}], "person 1: field: Extra inputs are not permitted"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_its_place(shop: Cli, tmp_path: Path, given: object, place: str) -> None:
    assert place in shop.line("preview", "acme", "welcome", "--people", people(tmp_path, given))


def test_what_is_not_there_is_told_with_what_is(shop: Cli) -> None:
    assert "No template 'nobodys'" in shop.line("preview", "acme", "nobodys")
    said = shop.line("preview", "acme", "welcome", "--variant", "Hot")
    assert "has no variant 'Hot'. Variants: " in said
    assert "'Warm'" in said
