"""Text of JSON arrays → the text of each element, in bounded memory whatever is in it.

Told apart by brackets and quotes alone: what is between them is for a JSON reader to judge, so an element that is no
JSON costs only itself. Where the brackets do not fit, nothing behind can be told apart, and the file ends with a clear
word. Several arrays may follow each other, and so may pages as Klaviyo's API gives them: `{"data": […], …}`.
"""

import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final, Literal, NamedTuple

import orjson

from services.ingest.records import Unreadable

_READ_CHARS: Final = 1 << 16
_MOST_DEPTH: Final = 1 << 16
_SPACE: Final = re.compile(r"[ \t\r\n\ufeff]*+")
_IN_STRING: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_IN_BRACKETS: Final = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STRINGS_AND_MORE: Final = re.compile(r'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_BARE: Final = re.compile(r'[^\s,:"\[\]{}]*+')
_CLOSES: Final = {"{": "}", "[": "]"}
_STEPS: Final = {"{": 1, "[": 1, "}": -1, "]": -1}
_OF_PAGES: Final = frozenset({"data", "links", "included", "meta", "jsonapi"})

Read = Callable[[int], str]
"""At most so many further characters; none at the end."""

Part = Literal["data", "included"]


class Element(NamedTuple):
    """One element of an array; `text` is only its beginning if it is longer than is read."""

    part: Part
    text: str
    whole: bool


def elements(read: Read, most_chars: int) -> Iterator[Element]:
    """Of all arrays and pages, in their order. Raises Unreadable."""
    text = _Text(read, most_chars)
    while char := text.peek():
        if char == "[":
            yield from _array(text, "data")
        elif char == "{":
            yield from _page(text)
        else:
            raise text.broken("something else stands where an array begins")


def is_page(head: str) -> bool:
    """Whether a text that begins with `{` is a page of an API: an array named `data`, and nothing strange before."""
    parts = iter((head,))
    text = _Text(lambda _: next(parts, ""), len(head))
    if text.peek() == "{":
        text.step()
    try:
        while text.peek() == '"':
            name = text.key()
            if name not in _OF_PAGES or text.peek() == "":
                return False
            if name == "data":
                return text.peek() == "["
            text.value()
            if text.peek() == ",":
                text.step()
    except Unreadable:
        return False
    return False


def _array(text: "_Text", part: Part) -> Iterator[Element]:
    text.step()
    while text.peek() != "]":
        yield Element(part, *text.value())
        text.elements += 1
        if text.peek() == ",":
            text.step()
        elif text.peek() != "]":
            raise text.broken("no comma follows it")
    text.step()


def _page(text: "_Text") -> Iterator[Element]:
    text.step()
    while text.peek() != "}":
        name = text.key()
        if text.peek() == "[" and name in ("data", "included"):
            yield from _array(text, "data" if name == "data" else "included")
        else:
            text.value()
        if text.peek() == ",":
            text.step()
        elif text.peek() != "}":
            raise text.broken("no comma follows a member of the page")
    text.step()


class _Text:
    """The text that is still to come, and where in it we are."""

    def __init__(self, read: Read, most_chars: int) -> None:
        self._read, self._most_chars = read, most_chars
        self._buffer, self._at = "", 0
        self.elements = 0

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # it always matches
            if self._at < len(self._buffer) or not self._fill():
                return self._buffer[self._at : self._at + 1]

    def step(self) -> None:
        """Over the character that was peeked at."""
        self._at += 1

    def key(self) -> str:
        """The name of a member, and over its colon."""
        name, whole = self.value() if self.peek() == '"' else ("", False)
        if not whole or self.peek() != ":":
            raise self.broken("a member of the page has no name")
        self.step()
        try:
            return str(orjson.loads(name))
        except orjson.JSONDecodeError:
            return ""

    def value(self) -> tuple[str, bool]:
        """The text of one value, and whether it is all of it."""
        kept = _Kept(self._most_chars)
        match self.peek():
            case "":
                raise self.cut_off()
            case "{" | "[":
                self._brackets(kept)
            case '"':
                self._string(kept)
            case _:
                self._bare(kept)
        return kept.text()

    def broken(self, how: str) -> Unreadable:
        if not self.peek():
            return self.cut_off()
        return Unreadable(f"the JSON is broken after element {self.elements}: {how}", reason="damaged_json")

    def cut_off(self) -> Unreadable:
        return Unreadable(
            f"the JSON array is cut off after {self.elements} elements: no bracket closes it", reason="damaged_json"
        )

    def _brackets(self, kept: "_Kept") -> None:
        open_ones: list[str] = []
        while True:
            self._run(_IN_BRACKETS, kept)
            char = self._buffer[self._at : self._at + 1]
            if not char:
                if not self._fill():
                    raise self.cut_off()
            elif char == '"':  # whose end is not in the buffer
                self._string(kept)
            else:
                self._at += 1
                kept.add(char)
                if char in _CLOSES:
                    open_ones.append(_CLOSES[char])
                    if len(open_ones) > _MOST_DEPTH:
                        raise self.broken(f"brackets within brackets, {_MOST_DEPTH} deep")
                elif open_ones.pop() != char:
                    raise self.broken(f"a {char} closes what another bracket opened")
                if not open_ones:
                    return
                if kept.is_full:
                    self._skip(len(open_ones), kept)
                    return

    def _skip(self, depth: int, kept: "_Kept") -> None:
        """Over what is left of a value that is too long, so many brackets deep: many at once, of whatever kind."""
        while True:
            end = _STRINGS_AND_MORE.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # may be empty
            steps = list(accumulate(_STEPS.get(token, 0) for token in _TOKEN.findall(self._buffer, self._at, end)))
            if steps and depth + min(steps) <= 0:
                break
            depth += steps[-1] if steps else 0
            self._at = end
            if self._buffer[end : end + 1] == '"':
                self._string(kept)
            elif not self._fill():
                raise self.cut_off()
        for token in _TOKEN.finditer(self._buffer, self._at, end):
            depth += _STEPS.get(token[0], 0)
            if not depth:
                self._at = token.end()
                return

    def _string(self, kept: "_Kept") -> None:
        kept.add('"')
        self._at += 1
        while True:
            self._run(_IN_STRING, kept)
            left = self._buffer[self._at : self._at + 1]
            if left == '"':
                self._at += 1
                kept.add('"')
                return
            if not self._fill():  # nothing is left, or a `\` whose other half is to come
                raise self.cut_off()

    def _bare(self, kept: "_Kept") -> None:
        start = True
        while True:
            before = self._at
            self._run(_BARE, kept)
            start = start and self._at == before
            if self._at < len(self._buffer) or not self._fill():
                break
        if start:
            raise self.broken("a comma or a bracket stands where a value belongs")

    def _run(self, pattern: re.Pattern[str], kept: "_Kept") -> None:
        end = pattern.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # each of them may be empty
        kept.add(self._buffer[self._at : end])
        self._at = end

    def _fill(self) -> bool:
        more = self._read(_READ_CHARS)
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)


class _Kept:
    """The text of a value, as far as it is not too long."""

    def __init__(self, most_chars: int) -> None:
        self._left, self._parts, self._whole = most_chars, list[str](), True

    def add(self, part: str) -> None:
        if len(part) > self._left:
            part, self._whole = part[: self._left], False
        self._left -= len(part)
        if part:
            self._parts.append(part)

    @property
    def is_full(self) -> bool:
        return not self._whole

    def text(self) -> tuple[str, bool]:
        return "".join(self._parts), self._whole
