"""How many bytes the rows of a bulk import took in the body as it was received.

The decoder hands out values, not their places; to find the places the whole body is read once more, which takes longer
than the first time. So a plain body in which no row can be too large is spared that.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

from simulator.api.jsonapi import invalid

PATH = ("data", "attributes", "profiles", "data")
BLANKS = re.compile(r"[ \t\r\n]*")
# Numbers stay text: their size is asked, not their value.
DECODER = json.JSONDecoder(parse_float=str, parse_int=str)

Span = tuple[int, int]


def oversized_row(raw: bytes, rows: Sequence[Any], max_bytes: int) -> int | None:
    """The number of the first row that took more than `max_bytes` of the body `raw`, None when none did."""
    # Encoding a text that is not ASCII would leave its encoded form attached to it, twice the memory of what is kept.
    if raw.isascii() and b"\\u" not in raw:
        shortest = [len(orjson.dumps(row)) for row in rows]
        # What the body has beyond its rows in their shortest form, such as blanks, could all be of one row.
        beyond = max(0, len(raw) - sum(shortest))
        if max(shortest) + beyond <= max_bytes:
            return None
    sizes = received_sizes(raw)
    return next((number for number, size in enumerate(sizes) if size > max_bytes), None)


def received_sizes(raw: bytes) -> list[int]:
    """The bytes of each row, brace to brace; `raw` is known to be an import's sound JSON. Raises `ApiError` for rows
    nested too deeply to be looked into."""
    text = raw.decode()
    try:
        spans, _ = _rows_in_object(text, _after_blanks(text, 0), PATH)
    except RecursionError:
        raise invalid("The profiles are nested too deeply.", pointer=f"/{'/'.join(PATH)}") from None
    return [len(text[start:end].encode()) for start, end in spans]


def _rows_in_object(text: str, at: int, path: Sequence[str]) -> tuple[list[Span], int]:
    """The places of the rows that `path` leads to in the object at `at`, and where it ends. Of a name that stands twice
    the last value counts, as for every decoder."""
    found: list[Span] = []
    at = _after_blanks(text, at + 1)
    while text[at] != "}":
        name, at = DECODER.raw_decode(text, at)
        at = _after_blanks(text, _after_blanks(text, at) + 1)
        if name != path[0]:
            _, at = DECODER.raw_decode(text, at)
        elif len(path) > 1 and text[at] == "{":
            found, at = _rows_in_object(text, at, path[1:])
        elif len(path) == 1 and text[at] == "[":
            found, at = _elements(text, at)
        else:
            found, at = [], DECODER.raw_decode(text, at)[1]
        at = _after_comma(text, at)
    return found, at + 1


def _elements(text: str, at: int) -> tuple[list[Span], int]:
    found = []
    at = _after_blanks(text, at + 1)
    while text[at] != "]":
        _, end = DECODER.raw_decode(text, at)
        found.append((at, end))
        at = _after_comma(text, end)
    return found, at + 1


def _after_comma(text: str, at: int) -> int:
    at = _after_blanks(text, at)
    return _after_blanks(text, at + 1) if text[at] == "," else at


def _after_blanks(text: str, at: int) -> int:
    match = BLANKS.match(text, at)
    assert match is not None  # noqa: S101 - the pattern matches nothing too
    return match.end()
