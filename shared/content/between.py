"""Finding what stands between an opening and its closing, in time that grows as the text does. Pure.

`opened.*?closed` as one pattern looks for the closing anew from each opening: a text of nothing but openings takes
minutes. Here a closing that does not come any more is looked for once.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

_OPENING: Final = re.compile(r"\{[{%]")
_COMMENT: Final = re.compile(r"\{%-?\s*comment")
_COMMENT_ENDS: Final = re.compile(r"endcomment\s*-?%\}")
_ENDS: Final = {"{{": re.compile(r"\}\}"), "{%": re.compile(r"%\}")}

Pair = tuple[re.Match[str], re.Match[str]]


def between(text: str, opened: re.Pattern[str], closed: re.Pattern[str]) -> Iterator[Pair]:
    """Each opening with the next closing behind it; they do not overlap."""
    at = 0
    while (begins := opened.search(text, at)) and (ends := closed.search(text, begins.end())):
        yield begins, ends
        at = ends.end()


def without(text: str, opened: re.Pattern[str], closed: re.Pattern[str]) -> str:
    """The text without what stands between them, and without themselves."""
    parts, at = [], 0
    for begins, ends in between(text, opened, closed):
        parts.append(text[at : begins.start()])
        at = ends.end()
    return "".join([*parts, text[at:]])


def with_tags(text: str, put: Callable[[str], str]) -> str:
    """The text with something in the place of each Liquid tag. `put` gets what an output tag holds, else nothing; a
    comment is one tag with all that it holds."""
    parts, end, at = [], 0, 0
    endless: set[re.Pattern[str]] = set()

    def closing(pattern: re.Pattern[str], behind: int) -> re.Match[str] | None:
        if pattern in endless:
            return None
        found = pattern.search(text, behind)
        if found is None:
            endless.add(pattern)
        return found

    while opening := _OPENING.search(text, at):
        start = opening.start()
        comment = _COMMENT.match(text, start)
        closed = closing(_COMMENT_ENDS, comment.end()) if comment else None
        closed = closed or closing(_ENDS[opening[0]], opening.end())
        if closed is None:
            at = start + 1
            continue
        inside = text[opening.end() : closed.start()] if opening[0] == "{{" else ""
        parts += [text[end:start], put(inside)]
        end = at = closed.end()
    return "".join([*parts, text[end:]])
