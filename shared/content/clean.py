"""The markup that a mail may hold. Everything else is taken out when copy is saved, and its author is told. Pure.

An allow-list over a real HTML5 parser (ammonia): what is not named here does not come out, whatever it is. Conditional
comments are kept, because Outlook needs them and reads them as HTML: their inside is held to the same list. They come
in halves (what opens a table and what closes it, a button for Outlook and the same for all others): where one may not
stay and its other half would, none does.
"""

import re
from collections import Counter
from collections.abc import Callable
from html import unescape

import nh3

from shared.content.between import without
from shared.html_reader import HtmlReader
from shared.rendering.places import SCHEMES, scheme_of

_TAGS_WORDS = (
    "a abbr acronym address article b big blockquote br caption center cite code col colgroup dd del dfn div dl "
    "dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main ol p pre q s samp "
    "section small span strike strong sub sup table tbody td tfoot th thead tr tt u ul var wbr"
)
TAGS = frozenset(_TAGS_WORDS.split())
_EVERYWHERE = "align bgcolor class dir height id lang role style title valign width"
ATTRIBUTES = {
    "a": "href name target",
    "blockquote": "cite",
    "col": "span",
    "colgroup": "span",
    "font": "color face size",
    "hr": "color noshade size",
    "img": "alt border hspace src vspace",
    "li": "type value",
    "ol": "reversed start type",
    "table": "background border cellpadding cellspacing summary",
    "td": "abbr background colspan headers nowrap rowspan scope",
    "th": "abbr background colspan headers nowrap rowspan scope",
    "tr": "background",
    "ul": "type",
}
_STYLES_WORDS = (
    "background background-color background-image background-position background-repeat background-size border "
    "border-bottom border-bottom-color border-bottom-left-radius border-bottom-right-radius border-bottom-style "
    "border-bottom-width border-collapse border-color border-left border-left-color border-left-style border-"
    "left-width border-radius border-right border-right-color border-right-style border-right-width border-"
    "spacing border-style border-top border-top-color border-top-left-radius border-top-right-radius border-top-"
    "style border-top-width border-width box-shadow box-sizing caption-side clear color cursor direction display "
    "empty-cells float font font-family font-size font-style font-variant font-weight height letter-spacing line-"
    "height list-style list-style-position list-style-type margin margin-bottom margin-left margin-right margin-"
    "top max-height max-width min-height min-width mso-border-alt mso-hide mso-line-height-alt mso-line-height-"
    "rule mso-padding-alt mso-table-lspace mso-table-rspace mso-text-raise opacity outline overflow overflow-wrap "
    "padding padding-bottom padding-left padding-right padding-top table-layout text-align text-decoration text-"
    "decoration-color text-indent text-overflow text-shadow text-transform text-underline-offset unicode-bidi "
    "vertical-align visibility white-space width word-break word-spacing word-wrap -webkit-text-size-adjust -ms-"
    "text-size-adjust -ms-interpolation-mode"
)
STYLES = frozenset(_STYLES_WORDS.split())
_WITH_CONTENT_WORDS = (
    "script style title iframe object embed noscript noembed noframes template textarea select option svg math xml head"
)
_WITH_CONTENT = frozenset(_WITH_CONTENT_WORDS.split())
_PICTURES = frozenset(
    {("img", "src"), ("table", "background"), ("td", "background"), ("th", "background"), ("tr", "background")}
)
_COMMENT_NAME = "a conditional comment"
_VML_NAME = "VML in a conditional comment"
_ALL_COMMENTS = "all conditional comments, since one of them holds more than mail may"
_PASSES = 5  # the second shows that nothing changes any more; tangled links need a third
_CSS_URL = re.compile(r"url\(\s*+[\"']?+\s*+(?!https://)", re.IGNORECASE)
_CSS_CODE = re.compile(r"expression\s*\(|javascript:|vbscript:|behavior\s*:|-moz-binding|@import|[\\<]", re.IGNORECASE)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_SLOT = re.compile(r"jai_[0-9a-f]{12}x\d+x")  # what stands for a Liquid tag inside an attribute
_STYLE = re.compile(r' style="[^"]*"')
_CONDITION = re.compile(r"\s*(?:\[if\b|<!\[endif\])", re.IGNORECASE)
_CONDITIONAL = re.compile(r"\[if [^\]<>]*\]>(?P<html>.*)<!\[endif\]\s*", re.DOTALL)
_REVEALED = re.compile(r"\[if [^\]<>]*\]>\s*(?:<!(?:--\s*)?)?|\s*<!\[endif\]\s*")  # beside `<!-->`: `<!-- -->`, `-->`
_SETTINGS = tuple(
    (re.compile(rf"<{name}\b[^<>]*>", re.IGNORECASE), re.compile(rf"</{name}\s*>", re.IGNORECASE))
    for name in ("xml", "style")
)
_VML = re.compile(r"</?v:[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<(?P<closes>/?)(?P<name>[a-z][\w:-]*+)[^<>]*?(?P<whole>/?)>", re.IGNORECASE)
_VOID = frozenset({"br", "col", "hr", "img", "wbr"})
_HIDES_FROM_OUTLOOK = re.compile(
    r" style=\"[^\"]*\bmso-hide\b|<!--\[if\b[^\]<>!]*![^\]<>]*\]>\s*(?:<!|-->)", re.IGNORECASE
)
_SHOWN_NOWHERE = re.compile(r"</?noscript\s*>|<(?:meta|link)\b[^<>]*>", re.IGNORECASE)
_ELEMENT = re.compile(
    r"<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z][a-zA-Z-]*(?:\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'))?)*)\s*/?>"
)
_ATTRIBUTE = re.compile(r"([a-zA-Z][a-zA-Z-]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'))?")


class Unsettled(ValueError):
    """Every parse of this markup makes another page."""


def clean(html: str, *, is_slot: Callable[[str], bool] = lambda _: False, tbody: bool = True) -> str:
    """The markup that is allowed. `is_slot` tells the comments that stand for Liquid tags; without `tbody`, the author
    wrote none, and those that parsers add need not be sent. Raises Unsettled.

    What is written is what a mail program's parser makes of it: some trees, such as a link in a table in a link, cannot
    be written so that they are read back as they were, and would be another page than the one that was judged.
    """
    for _ in range(_PASSES):
        before, html = html, _clean_once(html, is_slot, tbody=tbody)
        if html == before:
            return html
    raise Unsettled("its elements are nested so that no two mail programs read them alike; close each where it belongs")


def _clean_once(html: str, is_slot: Callable[[str], bool], *, tbody: bool) -> str:
    cleaned = _CLEANER.clean(html)
    if torn := _is_torn(cleaned):
        cleaned = _UNHIDING_CLEANER.clean(cleaned)
    if not tbody:
        cleaned = re.sub(r"</?tbody>", "", cleaned)
    cleaned = _STYLE.sub(lambda found: found[0].replace(" , ", ", "), cleaned)  # how the parser writes lists of fonts

    def kept(found: re.Match[str]) -> str:
        stays = found[1] if is_slot(found[1]) else None if torn else _may_stay(found[1])
        return "" if stays is None else f"<!--{stays}-->"

    return _COMMENT.sub(kept, cleaned)


def outline(html: str) -> str:
    """The elements and texts as a browser sees them, without looks: for comparing two texts."""
    return " ".join(_OUTLINER.clean(html).split())


def removed(before: str, after: str) -> list[str]:
    """What cleaning took out: elements, attributes of elements, and conditional comments, each named once."""
    seen, left = _Markup(before).seen, _Markup(after).seen
    gone = set(seen - left)
    if _COMMENT_NAME in gone:
        gone.discard(_VML_NAME)
    if seen[_COMMENT_NAME] > 1 and not left[_COMMENT_NAME]:
        gone = gone - {_COMMENT_NAME} | {_ALL_COMMENTS}
    return sorted(gone)


def css_is_safe(css: str) -> bool:
    """Whether a style sheet neither loads anything but https pictures nor is more than a style sheet."""
    return not (_CSS_CODE.search(css) or _CSS_URL.search(css))


def _allowed(tag: str, name: str) -> bool:
    return name in _EVERYWHERE.split() or name.startswith("aria-") or name in ATTRIBUTES.get(tag, "").split()


def _value(tag: str, name: str, value: str) -> str | None:
    """The attribute's value, or None when it may not stand there."""
    if name == "style":
        return value if css_is_safe(value) else None
    if (tag, name) in _PICTURES:
        return value if _leads(value, frozenset({"https"}), without_scheme=False) else None
    if name in ("href", "cite"):
        return value if _leads(value, SCHEMES, without_scheme=True) else None
    return value


def _leads(url: str, schemes: frozenset[str], *, without_scheme: bool) -> bool:
    """Whether a link has one of these schemes whichever branches of its Liquid are shown. A value that begins it is
    judged when it is there (shared/rendering/places.py)."""
    first, *rest = _SLOT.split(url)
    if first.strip() and rest and not re.search(r"[:/?#]", first):
        return False  # what begins a scheme may go on behind the tag
    if first.strip() or not rest:
        scheme = scheme_of(url)
        return without_scheme if scheme is None else scheme in schemes
    return all(
        not part.strip() or scheme_of(part) in schemes or (":" not in part and any(char in part for char in "/?#&=._-"))
        for part in rest
    )


def _comment_is_safe(comment: str) -> bool:
    if _REVEALED.fullmatch(comment):
        return True
    found = _CONDITIONAL.fullmatch(comment)
    if found is None or "<!--" in found["html"]:
        return False
    return "<" not in _ELEMENT.sub(lambda one: "" if _element_is_safe(one) else "<", found["html"])


def _may_stay(comment: str) -> str | None:
    """What of a comment stays: all of it, all but the picture that MJML puts behind a section, or nothing."""
    if not _comment_is_safe(comment) and _frames(comment):
        comment = _VML.sub("", comment)
    return comment if _comment_is_safe(comment) else None


def _is_torn(html: str) -> bool:
    """Whether what may stay of the comments would be halves: it closes other elements than it opens, or something is
    hidden from Outlook and what Outlook was to show in its place goes."""
    stay: list[str] = []
    gone: list[str] = []
    for comment in _COMMENT.findall(html):
        if (stays := _may_stay(comment)) is not None:
            stay.append(stays)
        elif _CONDITION.match(comment) and _shown_of(comment):
            gone.append(comment)
    if not gone:
        return False
    replaces = not all(map(_frames, gone)) and _HIDES_FROM_OUTLOOK.search(html)
    return bool(replaces) or not _closes_what_it_opens("".join(stay))


def _shown_of(comment: str) -> str:
    """The inside without settings, which show nothing and so have no other half: the head of most whole documents holds
    some."""
    found = _CONDITIONAL.fullmatch(comment)
    shown = found["html"] if found else comment
    for opened, closed in _SETTINGS:
        shown = without(shown, opened, closed)
    return _SHOWN_NOWHERE.sub("", shown).strip()


def _frames(comment: str) -> bool:
    """Whether this only opens or closes what stands around the content that all are shown: it stands in for nothing."""
    found = _CONDITIONAL.fullmatch(comment)
    return found is not None and not (_TAG.sub("", found["html"]).strip() or _closes_what_it_opens(found["html"]))


def _closes_what_it_opens(html: str) -> bool:
    opened: list[str] = []
    for tag in _TAG.finditer(html):
        name = tag["name"].lower()
        if tag["whole"] or name in _VOID:
            continue
        if not tag["closes"]:
            opened.append(name)
        elif not opened or opened.pop() != name:
            return False
    return not opened


def _element_is_safe(found: re.Match[str]) -> bool:
    tag = found[2].lower()
    if tag not in TAGS:
        return False
    for name, double, single in _ATTRIBUTE.findall(found[3]):
        value = unescape(double or single)
        if not _allowed(tag, name.lower()) or _value(tag, name.lower(), value) is None:
            return False
        if name.lower() == "style" and not _styles(value) <= STYLES:
            return False
    return True


def _styles(css: str) -> set[str]:
    return {one.partition(":")[0].strip().lower() for one in css.split(";") if one.strip()}


class _Markup(HtmlReader):
    """Every element, attribute and declaration by a name that its author knows."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: Counter[str] = Counter()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[f"<{tag}>"] += 1
        for name, value in attrs:
            if name == "style":
                self.seen.update(f"style {one} of <{tag}>" for one in _styles(value or ""))
            else:
                self.seen[f"{name} of <{tag}>"] += 1

    def handle_comment(self, data: str) -> None:
        if data.lstrip().startswith("[if"):
            self.seen[_COMMENT_NAME] += 1
            self.seen[_VML_NAME] += bool(_VML.search(data))


def _cleaner(styles: frozenset[str]) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(TAGS),
        clean_content_tags=set(_WITH_CONTENT),
        attributes={"*": set(_EVERYWHERE.split())} | {tag: set(names.split()) for tag, names in ATTRIBUTES.items()},
        attribute_filter=_value,
        filter_style_properties=set(styles),
        generic_attribute_prefixes={"aria-"},
        strip_comments=False,
        link_rel=None,
        url_schemes=set(SCHEMES),
    )


_CLEANER = _cleaner(STYLES)
_UNHIDING_CLEANER = _cleaner(STYLES - {"mso-hide"})  # what a comment stood in for must show in Outlook
_OUTLINER = nh3.Cleaner(
    tags=set(TAGS),
    clean_content_tags=set(_WITH_CONTENT),
    attributes={"a": {"href"}, "img": {"src", "alt"}},
    attribute_filter=_value,
    link_rel=None,
    url_schemes=set(SCHEMES),
)
