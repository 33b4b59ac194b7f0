"""Regular expressions that a customer may write: a part of Python's syntax that always comes to an end soon.

Python's matcher tries every way to match. What multiplies the ways (repeats, alternatives) is therefore counted, and
a repeat of a group, which can multiply without end, is refused. A value is matched in its first `VALUE_CHARS`.
"""

import re
from collections.abc import Iterator

VALUE_CHARS = 64
_PATTERN_CHARS = 200
_MOST_WAYS = 5_000  # from each of 64 starts: below 10 ms for the worst value
_TOKEN = re.compile(
    r"""(?P<escape>\\.) | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]) | (?P<open>\((?:\?:)?(?!\?)) | (?P<lookaround>\(\?)
      | (?P<close>\)) | (?P<or>\|) | (?P<repeat>(?:[*+?]|\{(?:\d+,?|,|\d*,\d+)\})\??) | (?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, to be searched for without regard to case. Raises ValueError that says what is wrong with it."""
    if len(pattern) > _PATTERN_CHARS:
        raise ValueError(f"a pattern has at most {_PATTERN_CHARS} characters")
    try:
        made = re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if _ways(pattern) > _MOST_WAYS:
        raise ValueError("can match in too many ways; use fewer of * + ? { and |")
    return made


def _ways(pattern: str) -> int:
    """At most how many ways the matcher may try from one start, for a value of VALUE_CHARS."""
    ways, branches = 1, [1]
    before = ""
    for kind, text in _tokens(pattern):
        match kind:
            case "escape" if text[1] in "123456789gk":
                raise ValueError(f"may not refer back to a group: {text}")
            case "lookaround":
                raise ValueError("may not look around or set flags: (?")
            case "open":
                branches.append(1)
            case "or":
                branches[-1] += 1
            case "close":
                ways *= branches.pop()
            case "repeat":
                if before == "repeat" or (before == "close" and text.rstrip("?")):
                    raise ValueError(f"may not repeat a group: ){text}")
                ways *= _repeats(text)
        before = kind
    return ways * branches.pop()


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(pattern):
        yield str(found.lastgroup), found[0]


def _repeats(text: str) -> int:
    """How many lengths a repeat may have."""
    bounds = text.removesuffix("?") or text
    if bounds == "?":
        return 2
    if not bounds.startswith("{"):
        return VALUE_CHARS
    least, comma, most = bounds[1:-1].partition(",")
    if not comma:
        return 1
    return min(max((int(most) if most else VALUE_CHARS) - int(least or 0), 0) + 1, VALUE_CHARS)
