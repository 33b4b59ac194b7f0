"""docs/ingest.md: each command that it shows exists, with its options."""

import re
from pathlib import Path

import click

from tests.unit.cli.test_runbooks import resolve

PAGE = Path(__file__).parents[3] / "docs" / "ingest.md"


def test_every_command_of_the_page_exists_with_its_options() -> None:
    commands = [found.split() for found in re.findall(r"(?:^|`)justai ([^`\n]+)", PAGE.read_text(), re.MULTILINE)]

    assert len(commands) > 15
    for words in commands:
        command, rest = resolve(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert not isinstance(command, click.Group), words
        assert {word.rstrip(";") for word in rest if re.fullmatch(r"--[a-z-]+;?", word)} <= known, words
