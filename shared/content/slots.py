"""Liquid tags in HTML, taken out before HTML tools see the text and put back exactly as they were. Pure.

HTML tools know nothing of Liquid: they would escape `{{ a > b }}`, or move a tag that stands between two rows out of
its table. So each tag is a placeholder meanwhile: a comment where text may stand (parsers leave comments where they
are, in tables too), a word inside a quoted attribute or a comment.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

_SLOT = re.compile(
    r"\{%-?\s*(?P<block>raw|comment)\s*-?%\}.*?\{%-?\s*end(?P=block)\s*-?%\}|\{\{.*?\}\}|\{%-?\s*(?P<tag>[a-z#]*).*?%\}",
    re.DOTALL,
)
_LITERAL = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_CAPTURE = re.compile(
    r"\{%-?\s*capture\s+[\"']?(?P<name>[\w-]+).*?%\}(?P<block>.*?)\{%-?\s*endcapture\s*-?%\}", re.DOTALL
)
_ASKING = frozenset({"if", "elsif", "unless", "case", "when"})  # what these name is compared, never shown
_RAW_TEXT = ("style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript", "plaintext")


@dataclass(frozen=True, slots=True)
class Slot:
    """One Liquid tag: its text as written, its line, and what it stands in: text, attribute, comment, a tag itself, or
    the name of an element whose content is no HTML."""

    text: str
    line: int
    inside: str
    tag: str = ""  # of `{% tag … %}`

    @property
    def shown(self) -> str:
        """For a message: on one line, not too long."""
        line = " ".join(self.text.split())
        return line if len(line) <= 60 else line[:59] + "…"


class SlotFault(Exception):
    """A Liquid tag stands where it cannot be kept. `line` counts within the text."""

    def __init__(self, slot: Slot, why: str) -> None:
        super().__init__(f"{slot.shown} {why}")
        self.line = slot.line


@dataclass(frozen=True, slots=True)
class Hidden:
    """A text with placeholders in the place of its slots."""

    html: str
    slots: tuple[Slot, ...]
    token: str

    def restore(self, html: str, *, repeated: bool = False) -> str:
        """The text with its slots back. Raises SlotFault for one that is missing or out of order; where `repeated`, a
        tool may have put an attribute's value into several places."""
        marks: dict[int, list[int]] = {}
        for found in self._mark.finditer(html):
            marks.setdefault(int(found[1] or found[2]), []).append(found.start())
        at = -1
        for number, slot in enumerate(self.slots):
            places = marks.get(number, [])
            often = len(places) > 1 and not (repeated and slot.inside != "text")
            if not places or often or places[0] < at:
                raise SlotFault(slot, _LOST_IN_COMMENT if slot.inside == "comment" else _LOST)
            at = places[0]
        return self._mark.sub(lambda found: self.slots[int(found[1] or found[2])].text, html)

    def numbers(self, html: str) -> list[int]:
        """The slots whose placeholders stand in this piece, by number."""
        return [int(found[1] or found[2]) for found in self._mark.finditer(html)]

    def is_slot(self, comment: str) -> bool:
        """Whether this comment's inside is a placeholder."""
        return self._mark.fullmatch(comment) is not None

    @property
    def _mark(self) -> re.Pattern[str]:
        return re.compile(rf"<!--{self.token}x(\d+)x-->|{self.token}x(\d+)x")


_LOST = (
    "stands where HTML cannot keep it; put it into text or a quoted attribute, and close each element in the branch "
    "that opens it"
)
_LOST_IN_COMMENT = (
    "stands where HTML cannot keep it: in a comment that is taken out, as all conditional ones are where one holds "
    "more than mail may; put it into text, or leave that out"
)


def hide(text: str) -> Hidden:
    """Put placeholders in the place of all slots. Raises SlotFault for one that no placeholder can stand for."""
    token = _token(text)
    slots: list[Slot] = []
    parts: list[str] = []
    place, end = _Place(), 0
    for found in _SLOT.finditer(text):
        parts.append(text[end : found.start()])
        place.read(parts[-1])
        end = found.end()
        slot = Slot(found[0], text.count("\n", 0, found.start()) + 1, place.name, found["tag"] or "")
        if found["block"] == "raw":
            raise SlotFault(
                slot,
                "has no use in copy, and Klaviyo fills in nothing inside a profile property; write the text itself",
            )
        if slot.inside == "tag":
            raise SlotFault(slot, "stands in an element's tag but outside quotes, where a value could become markup")
        if slot.inside in _RAW_TEXT:
            raise SlotFault(slot, f"stands in <{slot.inside}>, where a value could become markup")
        word = f"{token}x{len(slots)}x"
        parts.append(f"<!--{word}-->" if slot.inside == "text" else word)
        slots.append(slot)
    parts.append(text[end:])
    for fault in _smuggling(text, slots):
        raise fault
    return Hidden("".join(parts), tuple(slots), token)


def _smuggling(text: str, slots: list[Slot]) -> Iterator[SlotFault]:
    """Literals and captured text are not escaped when they are printed, and no sanitiser has seen them as markup."""
    captured = {found["name"]: set(found["block"]) & set("<\"'") for found in _CAPTURE.finditer(text)}
    looked_for = [  # made once: of each slot each of them is asked
        (
            name, marks, re.compile(rf"\{{\{{-?\s*{re.escape(name)}\s*-?\}}\}}"),
            re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])"),
        )
        for name, marks in captured.items() if marks
    ]  # fmt: skip
    for slot in slots:
        if slot.tag in _ASKING or slot.tag == "comment" or slot.tag.startswith(("#", "end", "capture")):
            continue
        literals = "".join(double + single for double, single in _LITERAL.findall(slot.text))
        if "<" in literals:
            yield SlotFault(slot, "holds markup in a text of its own, which nobody cleans; write it as HTML around it")
        elif slot.inside != "text" and set(literals) & set("\"'"):
            yield SlotFault(slot, "holds a quote in a text of its own, which would end the attribute; leave it out")
        bare_words = _LITERAL.sub("''", slot.text)
        for name, marks, alone, named in looked_for:
            if named.search(bare_words) and (
                ("<" in marks and not alone.fullmatch(slot.text)) or slot.inside != "text"
            ):
                yield SlotFault(slot, f"changes or quotes what {name} has captured; print it as it is, in text")


def _token(text: str) -> str:
    """A word that does not stand in the text; the same for the same text. With an underscore, it begins no scheme."""
    number = 0
    while True:
        token = f"jai_{blake2b(f'{number}{text}'.encode(errors='replace'), digest_size=6).hexdigest()}"
        if token not in text:
            return token
        number += 1


class _Place:
    """Follows HTML as far as to know what the next character stands in."""

    _NEXT = re.compile(r"<!--|</?([a-zA-Z][^\s/>]*)")

    def __init__(self) -> None:
        self.name = "text"
        self._quote = ""
        self._tag = ""  # the open tag's name, with its slash
        self._before = ""  # the last character of a tag that is no blank

    def read(self, html: str) -> None:
        at, lower = 0, html.lower()
        while at < len(html):
            match self.name:
                case "text":
                    at = self._text(html, at)
                case "comment":
                    at = self._until(html, at, "-->")
                case "attribute":
                    at = self._until(html, at, self._quote, to="tag")
                case "tag":
                    at = self._in_tag(html, at)
                case raw:
                    at = self._until(lower, at, f"</{raw}")

    def _text(self, html: str, at: int) -> int:
        found = self._NEXT.search(html, at)
        if found is None:
            return len(html)
        self.name = "tag" if found[1] else "comment"
        self._tag, self._before = found[0][1:].lower(), ""
        return found.end()

    def _until(self, html: str, at: int, end: str, *, to: str = "text") -> int:
        found = html.find(end, at)
        if found < 0:
            return len(html)
        self.name, self._before = to, ""
        return found + len(end)

    def _in_tag(self, html: str, at: int) -> int:
        char = html[at]
        if char == ">":
            self.name = self._tag if self._tag in _RAW_TEXT else "text"
        elif char in "\"'" and self._before == "=":
            self.name, self._quote = "attribute", char
        if not char.isspace():
            self._before = char
        return at + 1
