"""Whether anything of a rendered text is seen. Pure.

An email of markup alone is as blank as an empty one: `<td>{% if vip %}…{% endif %}</td>` for whoever is no VIP, a
subject that is one invisible character.
"""

import re
import unicodedata

from shared.html_reader import HtmlReader

_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_FILLERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")  # letters and marks that show nothing


def says_something(text: str) -> bool:
    """Whether a plain text has a character that is seen."""
    if text.isascii():
        return bool(text) and not text.isspace()
    return any(
        not char.isspace() and char not in _FILLERS and unicodedata.category(char) not in ("Cc", "Cf") for char in text
    )


def shows_something(body: str) -> bool:
    """Whether a body has words or a picture outside of what it hides (`display: none`, as hidden preheaders are)."""
    sight = _Sight()
    sight.feed(body)
    sight.close()
    return sight.something


class _Sight(HtmlReader):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.something = False
        self._hidden = 0  # elements that are open, from the hidden one on

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        hides = any(name == "style" and value is not None and _HIDDEN.search(value) for name, value in attrs)
        if (self._hidden or hides) and tag not in _VOID:
            self._hidden += 1
        elif not self._hidden and not hides:
            self.something |= tag in ("img", "video") or any(name == "background" for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag not in _VOID:
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        self.something |= not self._hidden and self.cdata_elem is None and says_something(data)
