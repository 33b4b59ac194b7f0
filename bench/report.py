"""What every benchmark leaves behind: a table for people, one JSON file for machines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

_RESULTS = Path(__file__).parent / "results"


class Report:
    """One benchmark's result. Making it removes the old one, so that a failed run leaves none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._path = _RESULTS / f"{name}.json"
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
        rows = [(name, f"{value:,.4g}", *_judged(value, asked.get(name, ""))) for name, value in figures.items()]
        self.table(self._name, ("figure", "measured", "asked", ""), rows)
        _RESULTS.mkdir(exist_ok=True)
        result = {"name": self._name, "figures": {name: round(value, 4) for name, value in figures.items()}}
        self._path.write_text(json.dumps(result, indent=2) + "\n")


def _judged(value: float, asked: str) -> tuple[str, str]:
    if not asked:
        return "", ""
    relation, _, bound = asked.partition(" ")
    met = {">=": value >= float(bound), "<=": value <= float(bound), "<": value < float(bound)}[relation]
    return asked, "yes" if met else "MISSED"
