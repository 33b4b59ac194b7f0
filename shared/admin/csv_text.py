"""CSV that a spreadsheet shows and never runs. Pure."""

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
    return f"'{text}" if text.lstrip(" ").startswith(_RUNS) else text
