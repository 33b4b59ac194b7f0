"""What copy says, as its readers see it, and which of it is pushy, shouted or said twice. Pure."""

import re
from difflib import SequenceMatcher

from shared.content.between import with_tags
from shared.html_reader import HtmlReader
from shared.schemas.copy import VariantSource

ALIKE = 0.8
"""Texts that share this much say the same: the choice between them teaches nothing about what people like."""

SPAM_PHRASES = (
    "100% free", "act now", "apply now", "as seen on", "be your own boss", "buy direct", "cash bonus", "click here",
    "click below", "congratulations you", "double your", "earn extra cash", "extra income", "free gift", "free money",
    "get paid", "guaranteed winner", "incredible deal", "increase sales", "lowest price", "make money", "miracle",
    "money back guarantee", "no catch", "no cost", "no obligation", "no strings attached", "once in a lifetime",
    "order now", "pure profit", "risk free", "risk-free", "satisfaction guaranteed", "special promotion",
    "this isn't spam", "this is not spam", "winner", "you have been selected", "you're a winner",
)  # fmt: skip
"""Few, and each of them rare in honest copy."""

URGENCY = re.compile(
    r"\b(?:(?:ends?|expires?|closes?|ending|expiring) "
    r"(?:tonight|today|soon|tomorrow|at midnight|in \d+ (?:hours?|days?))"
    r"|last chance|final (?:hours?|days?|call|chance)|(?:only|just) \d+ (?:hours?|days?|left)|only today|today only"
    r"|(?:while|until) (?:stocks?|supplies) lasts?|hurry|don'?t miss (?:out|it)|limited[- ]time|running out"
    r"|before it'?s (?:gone|too late)|now or never|(?:almost|nearly) gone)\b",
    re.IGNORECASE,
)
_CODE_NAMED = re.compile(
    r"\b(?:codes?|coupons?|vouchers?|promo(?:tion)?)\b(?:\s+(?:code|is|the|with))*\s*[:=]?\s*[\"'“‘«]?([A-Za-z0-9][A-Za-z0-9_-]{2,39})"
)
_CODE_SHAPED = re.compile(r"\b[A-Z]{3,}[0-9]{1,4}[A-Z]*\b")
_LITERAL = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SHINGLE_WORDS = 3


def filled(text: str) -> str:
    """A text with the words of its own tags (fallbacks) in their place, and without those of people."""
    return with_tags(text, lambda inside: " ".join(a + b for a, b in _LITERAL.findall(inside)))


def visible(html: str) -> str:
    """What a reader sees of a body, with the texts of its pictures."""
    sight = _Sight()
    sight.feed(html)
    sight.close()
    return " ".join("".join(sight.parts).split())


def codes(text: str) -> list[str]:
    """What reads like a promo code: a word with a digit or all in capitals after "code", or one shaped like SAVE20."""
    named = [found for found in _CODE_NAMED.findall(text) if found.isupper() or re.search(r"\d", found)]
    return list(dict.fromkeys([*named, *_CODE_SHAPED.findall(text)]))


def phrase(words: str) -> re.Pattern[str]:
    """Finds these words whole, whatever their case and the blanks between them."""
    inside = r"\s+".join(re.escape(word) for word in words.split())
    return re.compile(rf"(?<!\w){inside}(?!\w)", re.IGNORECASE)


def shouted(text: str) -> str | None:
    """Two or more words in capitals, or a run of exclamation marks, as they stand."""
    words = [word for word in _WORD.findall(text) if len(word) > 2 and word.isalpha()]
    loud = [word for word in words if word.isupper()]
    if found := re.search(r"!\s?!+", text):
        return found[0]
    return " ".join(loud[:3]) if len(loud) >= 2 and len(loud) * 2 >= len(words) else None


def likeness(one: str, other: str) -> float:
    """How much two texts share, 0 to 1: the Jaccard index of their runs of three words."""
    first, second = _shingles(one), _shingles(other)
    return len(first & second) / len(first | second) if first and second else 0.0


def corrects(after: VariantSource, before: VariantSource) -> bool:
    """Whether one version is the other with slips mended, so that what people did with either speaks of both.

    A subject is too short for runs of words, and beside a long body its own would not weigh: it is compared by letters.
    """
    lines = ((before.subject, after.subject), (before.preheader, after.preheader))
    if any(SequenceMatcher(None, filled(a), filled(b), autojunk=False).ratio() < ALIKE for a, b in lines):
        return False
    return before.body == after.body or likeness(*(visible(filled(one.body)) for one in (before, after))) >= ALIKE


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    runs = max(len(words) - _SHINGLE_WORDS + 1, 1) if words else 0
    return {tuple(words[at : at + _SHINGLE_WORDS]) for at in range(runs)}


_INLINE = "a abbr b big code em font i mark s small span strong sub sup u"


class _Sight(HtmlReader):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _INLINE.split():
            self.parts.append(" ")
        self.parts += [f" {value} " for name, value in attrs if tag == "img" and name == "alt" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in _INLINE.split():
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.parts.append(data)
