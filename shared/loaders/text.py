"""Filling in templates, and saying a text in a language so that it means itself."""

import re
from collections.abc import Mapping, Sequence

_GAP = re.compile(r"@@([a-z_]+)@@")
_WIDTH = 110


def filled(template: str, known: Mapping[str, str]) -> str:
    """Every gap `@@name@@` once: what is filled in is not looked into. Raises KeyError for one that nobody knows."""
    return _GAP.sub(lambda gap: known[gap[1]], template)


def wrapped(words: Sequence[str], indent: int = 4) -> str:
    """Words with commas between them, in lines that can be read."""
    lines, line = [], " " * indent
    for number, word in enumerate(words):
        piece = word + ("," if number < len(words) - 1 else "")
        if len(line) + len(piece) > _WIDTH and line.strip():
            lines.append(line.rstrip())
            line = " " * indent
        line += f"{piece} "
    return "\n".join([*lines, line.rstrip()])


def sql(text: str) -> str:
    """A literal of standard SQL."""
    return "'" + text.replace("'", "''") + "'"


def backslashed(text: str) -> str:
    """A literal where backslashes and quotes are escaped by backslashes: BigQuery, Databricks."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
