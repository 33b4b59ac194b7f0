"""Whether anything of a rendered text is seen. Pure.

An email of markup alone is as blank as an empty one: `<td>{% if vip %}…{% endif %}</td>` for whoever is no VIP, a
subject that is one invisible character.
"""

import re
import unicodedata

from shared.html_reader import HtmlReader

# What hides an element with all that is in it. Not font-size: 0, which frames of columns have, whose inside shows.
_NONE = r"0(?:\.0*)?(?:px|%)?\s*(?:[;!]|$)"
_HIDDEN = re.compile(rf"(?<![a-z-])(?:display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*{_NONE})", re.IGNORECASE)
_FLAT = re.compile(rf"(?<![a-z-])max-height\s*:\s*{_NONE}", re.IGNORECASE)
_CUT = re.compile(r"(?<![a-z-])overflow\s*:\s*hidden", re.IGNORECASE)  # else what is flat shows beyond its edge
_MAY_HIDE = re.compile(r"display|visibility|opacity|max-height|<!--", re.IGNORECASE)
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
# Letters and marks that show nothing: what Unicode lets fonts ignore, beyond controls, and the empty Braille cell.
_FILLERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)


def says_something(text: str) -> bool:
    """Whether a plain text has a character that is seen."""
    if text.isascii():
        return bool(text) and not text.isspace()
    return any(
        not char.isspace() and not _FILLERS.match(char) and unicodedata.category(char) not in ("Cc", "Cf")
        for char in text
    )


def shows_something(body: str) -> bool:
    """Whether a body has words or a picture outside of what it hides (`display: none`, as hidden preheaders are)."""
    try:
        sight = _Sight()
        sight.feed(body)
        sight.close()
    except _Seen:
        return True
    return False


def may_hide(text: str) -> bool:
    """Whether a part of a body that only some people get could hide what all get."""
    return _MAY_HIDE.search(text) is not None


class _Seen(Exception):
    """Something is seen: the rest need not be read."""


class _Sight(HtmlReader):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._hidden = 0  # elements that are open, from the hidden one on

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        hides = any(name == "style" and value is not None and _hides(value) for name, value in attrs)
        if (self._hidden or hides) and tag not in _VOID:
            self._hidden += 1
        elif not self._hidden and not hides and _is_picture(tag, dict(attrs)):
            raise _Seen

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag not in _VOID:
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden and self.cdata_elem is None and says_something(data):
            raise _Seen


def _hides(style: str) -> bool:
    return bool(_HIDDEN.search(style) or (_FLAT.search(style) and _CUT.search(style)))


def _is_picture(tag: str, attrs: dict[str, str | None]) -> bool:
    """One that is there, and neither a counting pixel nor a spacer."""
    if attrs.get("background"):
        return True
    sides = {(attrs.get(name) or "").strip().removesuffix("px") for name in ("width", "height")}
    return tag in ("img", "video") and bool((attrs.get("src") or "").strip()) and sides.isdisjoint({"0", "1"})
