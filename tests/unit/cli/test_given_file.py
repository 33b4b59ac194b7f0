"""A file may be standard input: who runs a command in a container has no other way to hand one in."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main

SHOP = Path(__file__).parents[3] / "demo" / "shop"
KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7X8m5yqbGv7v4lY1m6m1k3m4x0H8u2yq3n1vQ0s9aB ann@laptop\n"
NO_TEXT = b"\xff\xfe\xff"


def run(*arguments: str, given: bytes = b"") -> Result:
    """Without any setting, so that nothing but files is read."""
    return CliRunner().invoke(main, arguments, input=given, env={"JUSTAI_DATABASE_URL": "", "JUSTAI_SECRETS_DIR": ""})


def test_a_template_is_judged_from_standard_input() -> None:
    result = run("template", "import", "acme", "-", "--check", given=(SHOP / "welcome.yaml").read_bytes())

    assert (result.exit_code, result.stdout) == (0, "standard input can be imported.\n")


def test_what_is_wrong_with_it_is_told_by_its_line() -> None:
    result = run("template", "import", "acme", "-", "--check", given=b"name: [\n")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: standard input, line ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("template", "import", "acme", "-"),
        ("org", "attributes", "import", "acme", "-"),
        ("org", "rules", "import", "acme", "-"),
        ("apply", "--org", "acme", "-f", "-"),
        ("variant", "save", "acme", "welcome", "Warm", "-"),
        ("variant", "try", "acme", "welcome", "Warm", "-"),
        ("variant", "import", "acme", "welcome", "-"),
        ("preview", "acme", "welcome", "--people", "-"),
        ("source", "add", "acme", "x", "--key-file", "-"),
        ("source", "set", "acme", "x", "--secret-key-file", "-"),
        ("source", "test", "acme", "--key-file", "-"),
        ("source", "drop-key", "acme", "--keys-dir", ".", "--key-file", "-"),
    ],
    ids=lambda arguments: " ".join(word for word in arguments[:2]),
)
def test_every_command_that_takes_a_file_reads_it_before_it_asks_a_server(arguments: tuple[str, ...]) -> None:
    result = run(*arguments, given=NO_TEXT)

    assert result.exit_code == 1
    assert re.search(r"is no .*text", result.stderr), result.output


def test_a_login_is_made_where_no_database_is(tmp_path: Path) -> None:
    at = ("source", "drop-key", "acme", "--keys-dir", str(tmp_path))

    made = run(*at, "--key-file", "-", given=KEY)

    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("SHA256:")
    assert (tmp_path / "acme").read_text() == f"restrict {' '.join(KEY.decode().split()[:2])}\n"


@pytest.mark.parametrize("slug", ["../acme", "Acme", ".hidden", ""])
def test_a_login_is_named_like_a_slug_also_where_no_database_can_say_so(tmp_path: Path, slug: str) -> None:
    result = run("source", "drop-key", slug, "--keys-dir", str(tmp_path))

    assert (result.exit_code, result.stdout) == (1, "")
    assert "is no org's slug" in result.stderr


def test_a_folder_that_cannot_be_written_is_told_as_that_and_not_as_a_server_that_is_away() -> None:
    result = run("source", "drop-key", "acme", "--keys-dir", "/proc", "--key-file", "-", given=KEY)  # not even by root

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /proc/.")
