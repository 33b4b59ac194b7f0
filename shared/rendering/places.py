"""Where in an HTML body values land. Pure; run once per variant version, when it is compiled.

Escaping `& < > " '` makes a value harmless as text and inside a quoted attribute, and nowhere else: without quotes a
space starts a new attribute, in `style`, `on…`, <style> and <script> another language reads it, and at the start of
a link it can choose the scheme. So the source is parsed once with a probe in the place of every output tag.
"""

import re
from collections.abc import Iterable
from html import unescape

from shared.html_reader import LinearReader

_URL_WORDS = (
    "action archive background cite classid codebase data dynsrc formaction href icon longdesc lowsrc manifest ping "
    "poster profile src srcset usemap xlink:href"
)
_URL_ATTRIBUTES = frozenset(_URL_WORDS.split())
SCHEMES = frozenset({"http", "https", "mailto", "tel", "sms"})
"""What a link in a mail may do."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*):", re.IGNORECASE)
_IGNORED_IN_URLS = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")  # browsers skip most of these before the colon
_NAME = "|".join(sorted(_URL_ATTRIBUTES, key=len, reverse=True))
_LINK = re.compile(rf"(?:{_NAME})\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_MARK = "\x02"  # no value holds one: control characters leave values before they are filled in
_TAG = r"\{\{(?:[^{}]|\}(?!\}))*+\}\}|\{%(?:[^{%]|%(?!\}))*+%\}"
_QUOTED = rf"\"(?:[^\"{{]++|{_TAG}|\{{)*+(?:\"|\Z)|'(?:[^'{{]++|{_TAG}|\{{)*+(?:'|\Z)"
# What is not closed goes on to the end, as in browsers: looking for an end from each `<` would take minutes.
_STARTS = re.compile(rf"<[a-z](?:[^>={{]++|=\s*+(?:{_QUOTED})|{_TAG}|[={{])*+", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    rf"(?<=[\s\"'/}}])(?P<name>[^\s\"'<>/={{}}]++)(?P<before>\s*+=\s*+)(?P<value>{_QUOTED})", re.IGNORECASE
)
_BLANKS = r"(?:\s|&(?:nbsp|tab|newline|#0*(?:9|10|13|32|160)|#x0*(?:9|a|d|20|a0));)*+"
_BEGINS = re.compile(rf"[\"']{_BLANKS}\{{[{{%]", re.IGNORECASE)
_MARKED = re.compile(rf"(?P<name>{_NAME})(?P<before>\s*=\s*[\"']){_MARK}{_BLANKS}(?P<url>[^\"'<>]*)", re.IGNORECASE)
# The space inside shows missing quotes: a parser ends an unquoted attribute there.
_PROBE = re.compile(r"jai (\d+)=jai")


class UnsafePlace(Exception):
    """An output tag stands where escaping does not protect."""


def value_may_start_link(pieces: Iterable[str | None]) -> bool:
    """Whether some link of this body begins with a value, so that rendered links must be checked.

    `pieces`: the source cut at its output tags, each given as None; other tags left out. Raises UnsafePlace.
    """
    probed: list[str] = []
    probes = 0
    for piece in pieces:
        probed.append(f"jai {probes}=jai" if piece is None else piece)
        probes += piece is None
    reader = _read("".join(probed))
    if missing := set(range(probes)) - reader.seen:
        raise UnsafePlace(f"output tag {min(missing) + 1} stands in a tag but not inside a quoted attribute")
    return reader.starts_link


def links_are_safe(body: str) -> bool:
    """Whether every link of a rendered body has a harmless scheme, or none."""
    return all(_scheme_is_safe(unescape(double or single)) for double, single in _LINK.findall(body))


def marked(source: str) -> str:
    """The source with a mark in each link that begins with a tag, so that `settled` finds what was filled in there."""

    def mark(found: re.Match[str]) -> str:
        value = found["value"]
        if found["name"].lower() not in _URL_ATTRIBUTES or not _BEGINS.match(value):
            return found[0]
        return f"{found['name']}{found['before']}{value[0]}{_MARK}{value[1:]}"

    return _STARTS.sub(lambda tag: _ATTRIBUTE.sub(mark, tag[0]), source.replace(_MARK, ""))


def link_begins_behind(text: str, begins: bool = False) -> bool:
    """Whether a piece of a marked source ends where a link begins; `begins`: one began before it already."""
    _, mark, behind = text.rpartition(_MARK)
    return bool(mark or begins) and re.fullmatch(_BLANKS, behind, re.IGNORECASE) is not None


def settled(body: str) -> tuple[str, bool]:
    """A rendered body without its marks, and whether each marked link leads somewhere. A mail has no page that
    `/products/x` could belong to, so that is a dead button; `//host/x`, as shops give pictures, lacks nothing but the
    scheme. No picture at all is none, no link is dead."""
    leads = True

    def whole(found: re.Match[str]) -> str:
        nonlocal leads
        url = found["url"]
        if re.match(r"//\w", url):
            url = f"https:{url}"
        elif not url.startswith("#"):
            leads &= scheme_of(unescape(url)) is not None or not (url or found["name"].lower() == "href")
        return f"{found['name']}{found['before']}{url}"

    return _MARKED.sub(whole, body), leads


def links_of(pieces: Iterable[str | None]) -> list[tuple[str, str, str]]:
    """Every link of a source, cut as above: element, attribute, and the fixed text that it begins with (up to the
    first value in it)."""
    reader = _read("".join("jai 0=jai" if piece is None else piece for piece in pieces))
    return [(tag, name, _PROBE.split(url)[0]) for tag, name, url in reader.links if not _PROBE.match(url.lstrip())]


def _scheme_is_safe(url: str) -> bool:
    scheme = scheme_of(url)
    return scheme is None or scheme in SCHEMES


def scheme_of(url: str) -> str | None:
    """The scheme as a browser would read it, in lower case; None where the link has none."""
    scheme = _SCHEME.match(_IGNORED_IN_URLS.sub("", url))
    return scheme[1].lower() if scheme else None


def _read(html: str) -> "_PlaceReader":
    reader = _PlaceReader()
    try:
        reader.feed(html)
        reader.close()
    except AssertionError as error:  # how html.parser reports a malformed <![…]
        raise UnsafePlace("the body has a declaration that is not HTML") from error
    for comment in reader.comments:  # Outlook renders what stands in conditional comments
        inside = _read(comment)
        reader.seen |= inside.seen
        reader.starts_link |= inside.starts_link
        reader.links += inside.links
    return reader


class _PlaceReader(LinearReader):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: set[int] = set()
        self.starts_link = False
        self.comments: list[str] = []
        self.links: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in _URL_ATTRIBUTES:
                self.links.append((tag, name, value or ""))
            if value is not None and _PROBE.search(value):
                self._read_attribute(tag, name, value)

    def _read_attribute(self, tag: str, name: str, value: str) -> None:
        if name.startswith("on") or name in ("style", "srcdoc") or tag == "meta":
            raise UnsafePlace(f"an output tag stands in the attribute {name} of <{tag}>")
        if name in _URL_ATTRIBUTES:
            fixed = value[: _PROBE.search(value).start()]  # type: ignore[union-attr]  # the caller found one
            if not _scheme_is_safe(fixed):
                raise UnsafePlace(f"the attribute {name} of <{tag}> has a scheme that is not for mail")
            self.starts_link |= not re.search(r"[:/?#]", fixed)
        self._note(value)

    def handle_data(self, data: str) -> None:
        if self.cdata_elem in ("script", "style") and _PROBE.search(data):
            raise UnsafePlace(f"an output tag stands in <{self.cdata_elem}>")
        self._note(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def unknown_decl(self, data: str) -> None:
        self.comments.append(data)

    def _note(self, text: str) -> None:
        self.seen.update(int(number) for number in _PROBE.findall(text))
