"""`justai export-config` and `justai apply`, as a repository's pipeline runs them."""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.component.cli.rig import Cli

ROOT = Path(__file__).parents[3]
ORG = "org: {slug: acme, time_zone: Europe/Berlin}\nrules: {banned_words: [cheap]}\n"
WELCOME = """
template_id: welcome
name: Welcome
control: {subject: Hello, body: <p>Hello</p>}
variants:
  - {name: Warm, approved: true, subject: Come in, body: <p>Come in and have a seat.</p>}
"""

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGTGtn2ExSvHBF5d/o1Bz3dCrVBZ5KfT3UyKUhQ5nKVV"


def key_file(folder: Path) -> Path:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (folder / "key").write_bytes(key)
    return folder / "key"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "org.yaml").write_text(ORG)
    (tmp_path / "templates" / "welcome.yml").write_text(WELCOME)
    (tmp_path / "README.md").write_text("not read")
    return tmp_path


def test_a_folder_is_planned_applied_and_then_there_is_nothing_to_do(acme: Cli, folder: Path) -> None:
    apply = ("apply", "-f", str(folder))

    planned = acme.ok(*apply, "--dry-run")
    assert acme.value("SELECT count(*) FROM templates") == 0
    done = acme.ok(*apply, "--yes", "--as", "Robot")
    again = acme.ok(*apply, "--yes")

    assert planned.splitlines()[:5] == [
        "~ org acme",
        "    time_zone: UTC → Europe/Berlin",
        "~ rules acme",
        '    banned_words: [] → ["cheap"]',
        "+ template welcome",
    ]
    assert "    → is approved" in planned
    assert planned.splitlines()[-1] == "Plan: 2 created, 2 changed; 0 as they are."
    assert done == f"{planned}Done: 2 created, 2 changed.\n"
    assert again == "Nothing to do.\n"
    assert acme.value("SELECT actor FROM audit_log WHERE operation = 'config.apply'") == "Robot"


def test_what_was_written_out_is_applied_to_another_org(acme: Cli, folder: Path) -> None:
    acme.ok("apply", "-f", str(folder), "--yes")
    acme.ok("org", "create", "staging", "Acme Coffee")
    file = folder / "acme.yaml"

    acme.ok("export-config", "acme", "-o", str(file))
    assert file.read_text() == acme.ok("export-config", "acme")
    refused = acme.error("apply", "-f", str(file), "--org", "staging", "--yes")
    file.write_text(file.read_text().replace("  slug: acme\n", ""))
    acme.ok("apply", "-f", "-", "--org", "staging", "--yes", given=file.read_text())
    said = acme.ok("apply", "-f", str(file), "--org", "staging", "--yes")

    assert said.startswith("Nothing to do.\n")
    assert "the files are for the org acme, and this is staging" in refused
    assert acme.ok("export-config", "staging").replace("slug: staging", "slug: acme") == acme.ok(
        "export-config", "acme"
    )


def test_faults_are_said_by_file_and_line_and_nothing_is_changed(acme: Cli, folder: Path) -> None:
    welcome = folder / "templates" / "welcome.yml"
    welcome.write_text(WELCOME.replace("subject: Come in", 'subject: "{{ city }}"').replace("name: Welcome", "nam: x"))

    error = acme.error("apply", "-f", str(folder), "--yes")

    assert error.splitlines()[:3] == [
        "Error: Nothing was changed, 2 faults:",
        f"  {welcome}:2: template welcome, name: is missing",
        f"  {welcome}:3: template welcome, nam: is no field of a template file; is it misspelled?",
    ]
    assert acme.value("SELECT time_zone FROM orgs") is None


def test_nobody_is_asked_where_nobody_is(acme: Cli, folder: Path) -> None:
    result = acme.run("apply", "-f", str(folder))

    assert result.exit_code == 1
    assert "nobody is there to be asked. Give --yes." in result.stderr
    assert acme.value("SELECT count(*) FROM templates") == 0


def test_it_is_said_what_is_missing_to_begin_with(acme: Cli, tmp_path: Path) -> None:
    (tmp_path / "welcome.yaml").write_text(WELCOME)
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "x.yaml").write_bytes(b"\xff")
    (tmp_path / "empty").mkdir()

    assert "Which org?" in acme.line("apply", "-f", str(tmp_path / "welcome.yaml"))
    assert "There is no org 'nobody'" in acme.line("apply", "-f", str(tmp_path / "welcome.yaml"), "--org", "nobody")
    assert "is no UTF-8 text" in acme.line("apply", "-f", str(tmp_path / "latin"))
    assert "holds no .yaml or .yml file" in acme.line("apply", "-f", str(tmp_path / "empty"))


def test_pruning_says_what_it_archives(acme: Cli, folder: Path) -> None:
    acme.ok("apply", "-f", str(folder), "--yes")
    (folder / "templates" / "welcome.yml").write_text(WELCOME.replace("welcome", "winback"))

    assert "- template welcome" in acme.ok("apply", "-f", str(folder), "--prune", "--yes")
    assert acme.value("SELECT state FROM templates WHERE template_id = 'welcome'") == "archived"


def test_the_example_of_the_docs_can_be_applied(acme: Cli, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "config-files.md").read_text()
    [example] = re.findall(r"```yaml\n(# acme\.yaml\n.*?)```", page, re.DOTALL)
    (tmp_path / "acme.yaml").write_text(example)

    done = acme.ok("apply", "-f", str(tmp_path / "acme.yaml"), "--yes")

    assert "To be done by hand: set our private key of the source events" in done
    assert acme.ok("apply", "-f", str(tmp_path / "acme.yaml"), "--yes").startswith("Nothing to do.\n")


def test_a_source_without_its_key_can_be_given_it_and_has_no_part_in_rotating_keys(acme: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"sources: [{{name: events, host: h, user: u, host_key: {HOST_KEY}}}]")

    acme.ok("apply", "-f", str(tmp_path / "x.yaml"), "--org", "acme", "--yes")

    assert "SFTP key" not in acme.ok("kek", "list", "--secrets")
    assert acme.value("SELECT refused_at IS NOT NULL FROM sources") is True
    acme.ok("source", "set", "acme", "events", "--key-file", str(key_file(tmp_path)))
    assert "SFTP key" in acme.ok("kek", "list", "--secrets")
    assert acme.value("SELECT refused_at IS NULL FROM sources") is True


def test_an_org_is_given_another_name(acme: Cli) -> None:
    assert acme.ok("org", "rename", "acme", "Acme Tea") == "acme is called Acme Tea.\n"
    assert acme.ok("org", "show", "acme").startswith("acme: Acme Tea")
    assert "is empty" in acme.error("org", "rename", "acme", " ")
