"""The generated pages: the same everywhere, whole, and known to be stale when they are."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import orjson
from click.testing import CliRunner

from cli import reference
from cli.__main__ import main
from shared.settings import ServiceSettings

ROOT = Path(__file__).parents[3]
ELSEWHERE = {
    "COLUMNS": "40", "LINES": "10", "TERM": "dumb", "LANG": "C", "LC_ALL": "C", "TZ": "Asia/Tokyo", "NO_COLOR": "1",
    "PYTHONHASHSEED": "1",
}  # fmt: skip
HERE = {"COLUMNS": "300", "TERM": "xterm-256color", "LANG": "C.UTF-8", "FORCE_COLOR": "1", "PYTHONHASHSEED": "2"}


def written(folder: Path, env: dict[str, str]) -> dict[str, bytes]:
    """The pages as a process with this environment writes them."""
    command = [sys.executable, "-m", "cli.reference", "--into", str(folder)]
    folder.mkdir()
    subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"], **env}, check=True, timeout=60)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_pages_are_the_same_whatever_the_terminal_and_the_language(tmp_path: Path) -> None:
    here, elsewhere = written(tmp_path / "here", HERE), written(tmp_path / "elsewhere", ELSEWHERE)

    assert set(here) == set(reference.PAGES)
    assert here == elsewhere


def test_pages_are_stale_until_they_are_written_and_when_they_were_touched(tmp_path: Path) -> None:
    def check() -> tuple[int, str]:
        result = CliRunner().invoke(reference.main, ["--check", "--into", str(tmp_path)])
        return result.exit_code, result.output

    nothing = check()
    CliRunner().invoke(reference.main, ["--into", str(tmp_path)])
    fresh = check()
    (tmp_path / "cli.md").write_text("something else")
    touched = check()

    assert nothing[0] == 1
    assert all(name in nothing[1] for name in reference.PAGES)
    assert fresh == (0, "")
    assert touched[0] == 1
    assert "stale: cli.md; write them anew with `python -m cli.reference`" in touched[1]


def test_every_command_is_on_its_page_with_its_whole_path() -> None:
    page = reference.commands()

    headings = re.findall(r"^## (justai.*)$", page, re.MULTILINE)
    usages = re.findall(r"^Usage: (justai(?: [a-z-]+)*) ", page, re.MULTILINE)
    assert headings == usages
    assert {"justai", "justai template import", "justai dead replay", "justai kek rotate"} <= set(headings)
    assert "..." not in re.sub(r"\[ARGS\]\.\.\.", "", page), "a description is cut off"


def test_no_lines_that_stand_in_columns_are_run_together() -> None:
    """click joins the lines of a paragraph, but for those of one that begins with a backspace."""
    together = [
        (path, line)
        for path, command in each_command(main, "justai")
        for paragraph in inspect.cleandoc(command.help or "").split("\n\n")
        for line in paragraph.splitlines()
        if not paragraph.startswith("\b") and line.startswith(" ")
    ]

    assert together == []


def each_command(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from each_command(inner, f"{path} {name}")


def test_every_setting_is_on_its_page_with_a_description() -> None:
    rows = re.findall(r"^\| `(JUSTAI_\w+)` \| (.+?) \| (.*) \|$", reference.configuration(), re.MULTILINE)

    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names))
    assert {f"JUSTAI_{name.upper()}" for name in ServiceSettings.model_fields} <= set(names)
    assert [name for name, _, description in rows if not description] == []


def test_the_api_page_is_the_gateways_document() -> None:
    document = orjson.loads(reference.api())

    assert "/api/generate/{org_slug}" in document["paths"]
