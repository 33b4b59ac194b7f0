"""Stops as an operator begins and ends them; what it does to writes is shown where they are written."""

from pathlib import Path

import pytest

from tests.component.cli.rig import Cli

FILE = """
template_id: welcome
name: Welcome
state: active
control: {subject: Control, body: <p>Control</p>}
variants:
  - {name: Warm, approved: true, subject: Hello, body: <p>Warm</p>}
"""
SELECT_STOP = "SELECT stopped_at IS NOT NULL AS stopped, stopped_reason AS reason FROM templates"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "welcome.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def shop(acme: Cli, file: Path) -> Cli:
    """An org with one template."""
    acme.ok("template", "import", "acme", str(file))
    return acme


def test_a_template_is_stopped_with_a_reason_that_everybody_sees_and_resumed(shop: Cli) -> None:
    said = shop.ok("template", "stop", "acme", "welcome", "--reason", "the price is wrong")

    assert said.startswith("Template welcome is stopped since ")
    assert said.endswith(
        ": the price is wrong; people get the control content until `justai template resume acme welcome`.\n"
    )
    assert shop.rows(SELECT_STOP) == [{"stopped": True, "reason": "the price is wrong"}]
    assert "the price is wrong" in shop.ok("template", "list", "acme")
    assert shop.ok("outcomes", "acme").splitlines()[0] == said.strip()

    assert shop.ok("template", "resume", "acme", "welcome") == "Template welcome is not stopped any more.\n"
    assert shop.rows(SELECT_STOP) == [{"stopped": False, "reason": None}]
    assert "stopped since 2" not in shop.ok("outcomes", "acme")


def test_stopping_again_keeps_since_when_and_why(shop: Cli) -> None:
    first = shop.ok("template", "stop", "acme", "welcome", "--reason", "the price is wrong")

    assert shop.ok("template", "stop", "acme", "welcome") == first
    assert "typo" in shop.ok("template", "stop", "acme", "welcome", "--reason", "typo")
    assert shop.value("SELECT stopped_reason FROM templates") == "typo"


def test_importing_a_stopped_template_does_not_lift_the_stop_and_says_so(shop: Cli, file: Path) -> None:
    said = shop.ok("template", "stop", "acme", "welcome")

    file.write_text(FILE.replace("Warm</p>", "Corrected</p>"))

    assert shop.ok("template", "import", "acme", str(file)).endswith(said)
    assert shop.rows(SELECT_STOP) == [{"stopped": True, "reason": None}]


def test_an_org_is_stopped_and_resumed_and_its_templates_stop_stays(shop: Cli) -> None:
    shop.ok("template", "stop", "acme", "welcome")

    said = shop.ok("org", "stop", "acme", "--reason", "wrong shop").splitlines()
    listed = shop.ok("org", "list")
    resumed = shop.ok("org", "resume", "acme").splitlines()

    assert said[0].startswith("The org is stopped since ")
    assert said[0].endswith(": wrong shop; people get the control content until `justai org resume acme`.")
    assert "wrong shop" in listed
    assert resumed[0] == "acme is served again."
    assert resumed[1].startswith("Template welcome is stopped since ")


def test_resuming_a_template_of_a_stopped_org_says_that_the_org_is_stopped_still(shop: Cli) -> None:
    shop.ok("org", "stop", "acme")

    said = shop.ok("template", "resume", "acme", "welcome").splitlines()

    assert said[0] == "welcome was not stopped."
    assert said[1].startswith("The org is stopped since ")
    assert shop.ok("org", "resume", "acme") == "acme is served again.\n"
    assert shop.ok("org", "resume", "acme") == "acme was not stopped.\n"


@pytest.mark.parametrize("verb", ["stop", "resume"])
def test_an_unknown_template_or_org_is_named(shop: Cli, verb: str) -> None:
    assert shop.line("template", verb, "acme", "welcom") == ("No template 'welcom'; see `justai template list acme`.")
    assert shop.line("org", verb, "acmee") == "There is no org 'acmee'. Orgs: acme."


def test_a_stop_of_one_org_leaves_another_ones_template_of_the_same_name_alone(shop: Cli, file: Path) -> None:
    shop.ok("org", "create", "apex", "Apex")
    shop.ok("template", "import", "apex", str(file))

    shop.ok("template", "stop", "apex", "welcome")

    stopped = "SELECT o.slug FROM templates t JOIN orgs o USING (org_id) WHERE t.stopped_at IS NOT NULL"
    assert shop.rows(stopped) == [{"slug": "apex"}]
