"""docs/ingest.md: each command that it shows exists, with its options."""

from pathlib import Path

import click

from tests.unit.cli.test_runbooks import resolve, typed

PAGE = Path(__file__).parents[3] / "docs" / "ingest.md"


def test_every_command_of_the_page_exists_with_its_options() -> None:
    commands = typed(PAGE.read_text())

    assert len(commands) > 5
    for words in commands:
        command, rest = resolve(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert not isinstance(command, click.Group), words
        assert {word for word in rest if word.startswith("--")} <= known, words
