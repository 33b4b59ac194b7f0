"""Files that people hand to a command: by a name, or `-`, standard input. The latter is the only way where the command
runs in a container that sees no file of theirs."""

from pathlib import Path
from typing import Final

import click

GIVEN_FILE: Final = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
GIVEN_FILE_OR_FOLDER: Final = click.Path(exists=True, allow_dash=True, path_type=Path)


def text_of(file: Path, encoding: str = "utf-8") -> str:
    """What stands in it. Raises UnicodeDecodeError."""
    with click.open_file(str(file), encoding=encoding) as stream:
        return str(stream.read())


def called(file: Path) -> str:
    """As people are told of it."""
    return "standard input" if str(file) == "-" else str(file)
