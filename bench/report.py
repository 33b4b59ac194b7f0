"""What every benchmark leaves behind: a table for people, one JSON file for machines."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


class Report:
    """One benchmark's result. Making it removes the old one, so that a failed run leaves none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._path = RESULTS / f"{name}.json"
        self._path.unlink(missing_ok=True)
        self._console = Console()

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the raw numbers; the first column is the name of a row."""
        table = Table(title=title, title_justify="left")
        for at, column in enumerate(columns):
            table.add_column(column, justify="right" if at else "left")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def finish(self, figures: Mapping[str, float], asked: Mapping[str, str]) -> None:
        """Show the figures beside what is asked of them (`>= 0.85`, `< 200`), and write the file."""
        rows = [(name, shown(value), *_judged(value, asked.get(name, ""))) for name, value in figures.items()]
        self.table(self._name, ("figure", "measured", "asked", ""), rows)
        RESULTS.mkdir(exist_ok=True)
        result = {
            "name": self._name,
            "arguments": sys.argv[1:],
            "at": datetime.now(UTC).isoformat(timespec="minutes"),
            "commit": commit(),
            "machine": machine(),
            "asked": dict(asked),
            "figures": {name: round(value, 4) for name, value in figures.items()},
        }
        self._path.write_text(json.dumps(result, indent=2) + "\n")


def shown(value: float) -> str:
    """Four digits that count, and no exponent before it says more than the digits would."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e12 else f"{value:,.4g}"


def is_met(value: float, asked: str) -> bool:
    """`asked` is a relation and a bound, as `>= 0.85`."""
    relation, _, bound = asked.partition(" ")
    return {">=": value >= float(bound), "<=": value <= float(bound), "<": value < float(bound)}[relation]


def machine() -> str:
    """What the figures of this run were measured on, in a few words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {model}, {memory_gb:.0f} GB, Python {platform.python_version()}"


def commit() -> str | None:
    """What the project stands at, short; None outside a repository."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS.parent, capture_output=True, text=True, check=False
    )  # fmt: skip
    return found.stdout.strip() or None


def _judged(value: float, asked: str) -> tuple[str, str]:
    if not asked:
        return "", ""
    return asked, "yes" if is_met(value, asked) else "MISSED"
