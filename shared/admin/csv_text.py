"""CSV that a spreadsheet shows and never runs, and that comes back as it was. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence

_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")  # what spreadsheets take for a formula, and what they skip before one


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """The rows, the first one with the names of the columns. A text that a spreadsheet would run begins with ' instead:
    whoever wrote it chose it, whoever opens the file did not. Numbers stay numbers."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if _needs_a_guard(text) else text


def unguarded(cell: str) -> str:
    """The text that was written into a cell."""
    return cell[1:] if cell.startswith("'") and _needs_a_guard(cell[1:]) else cell


def _needs_a_guard(text: str) -> bool:
    """Also a text that looks guarded already, or it would come back without its '."""
    return text.lstrip("'").lstrip(" ").startswith(_RUNS)
