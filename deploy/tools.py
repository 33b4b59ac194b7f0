"""Checkers of others: run where they are, and never silently left out."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BIN: Final = Path(sys.executable).parent
FETCHED: Final = ROOT / ".cache" / "tools"  # what devstack/bootstrap.sh puts there

_MOST_S: Final = 300.0  # promtool takes seven seconds of processor time


class NotRunError(Exception):
    """A check could not be made here; the text says what is missing and how to have it. `optional`: nothing that we
    bring along has it, so that it may be missing in a strict run too."""

    def __init__(self, message: str, *, optional: bool = False) -> None:
        super().__init__(message)
        self.optional = optional


def found(tool: str, how: str, *, optional: bool = False) -> str:
    """Where it is: of the environment, of the machine, or fetched. Raises NotRunError, which tells `how` to have it."""
    path = shutil.which(tool, path=str(BIN)) or shutil.which(tool) or shutil.which(tool, path=str(FETCHED))
    if path is None:
        raise NotRunError(f"{tool} is not here: {how}", optional=optional)
    return path


def faults(*command: str, cwd: Path | None = None) -> Iterator[str]:
    """What a checker says of our files when it is not content."""
    done = subprocess.run(  # noqa: S603  # checkers, on our own files
        command, cwd=cwd, capture_output=True, text=True, timeout=_MOST_S, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        yield from said[:20] or [f"{Path(command[0]).name} ended with {done.returncode} and said nothing"]


def output(command: Sequence[str]) -> tuple[str, str]:
    """What it prints, and what it says of a failure."""
    done = subprocess.run(  # noqa: S603  # the same
        command, capture_output=True, text=True, timeout=_MOST_S, check=False
    )
    return done.stdout, done.stderr.strip()[:300] if done.returncode else ""
