"""From a body as its author wrote it, HTML or MJML, to the body that is served. Pure: nothing is ever fetched.

MJML becomes HTML, style sheets move into the elements, markup that is not for mail is taken out. Liquid tags come
through exactly as written: a body in which one could not is refused, with its line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import css_inline
import mrml

from shared.content.between import between, without
from shared.content.clean import Unsettled, clean, css_is_safe, outline, removed
from shared.content.slots import Hidden, Slot, SlotFault, hide
from shared.rendering.language import NotInTheLanguage, parse_body

_STYLE = re.compile(r"<style\b([^<>]*)>", re.IGNORECASE), re.compile(r"</style\s*>", re.IGNORECASE)
_COMMENTED = re.compile(r"<!--\[if"), re.compile(r"<!\[endif\]-->")
_CSS_COMMENT = re.compile(r"/\*"), re.compile(r"\*/")
_MEDIA = re.compile(r"@media[^{}@]*+\{(?:[^{}]*+\{[^{}]*+\})*[^{}]*+\}", re.IGNORECASE)
_BODY = re.compile(r"<body\b[^>]*>(.*)</body\s*>", re.DOTALL | re.IGNORECASE)
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, inline_style_tags=False)
_MADE_BY_MJML = frozenset({"vertical-align of <td>"})
_TRIALS = 12


@dataclass(frozen=True, slots=True)
class Served:
    """What is served in the place of what was written. `removed` names what was taken out."""

    body: str
    removed: Sequence[str] = ()


class CannotServe(Exception):
    """No body can be made of this source; says why, to its author. `line` counts within the source."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def is_mjml(text: str) -> bool:
    """Whether a body is written in MJML."""
    return re.match(r"\s*<mjml\b", text) is not None


def serve(source: str) -> Served:
    """The served form of a body that is copy already (the language has been checked). Raises CannotServe."""
    try:
        hidden = hide(source)
        html = _of_mjml(hidden.html) if is_mjml(source) else hidden.html
        html, css, media, lost = _apart(html, hidden)
        inlined = _INLINER.inline_fragment(html, css) if css.strip() else html
        cleaned = clean(inlined, is_slot=hidden.is_slot, tbody="<tbody" in html.lower())
        body = hidden.restore(cleaned, repeated=is_mjml(source))
    except SlotFault as error:
        raise CannotServe(str(error), error.line) from error
    except Unsettled as error:
        raise CannotServe(str(error)) from error
    except css_inline.InlineError as error:
        raise CannotServe(f"its style sheet cannot be read: {error}") from error
    if moved := _moved(hidden, html, cleaned):
        raise CannotServe(
            f"{moved.shown} stands between elements that another branch opens or closes; close each where it is opened",
            moved.line,
        )
    sheet = f"<style>{media}</style>" if media else ""
    gone = [one for one in removed(html, cleaned) if not (is_mjml(source) and one in _MADE_BY_MJML)]
    return Served(sheet + body, gone + ([] if is_mjml(source) else lost))


def _of_mjml(source: str) -> str:
    try:
        made = mrml.to_html(source, mrml.ParserOptions(include_loader=mrml.noop_loader()))
    except Exception as error:  # the library raises what its parser meets, of no common type
        raise CannotServe(f"is no MJML that can be read: {error}") from error
    found = _BODY.search(made.content)
    if found is None:
        raise CannotServe("is MJML without a body")
    # Sheets for Outlook alone stand in comments of the head, beside links to fonts: neither is for a fragment.
    head = without(made.content[: found.start()], *_COMMENTED)
    sheets = [head[start.start() : end.end()] for start, end in between(head, *_STYLE) if "media=" not in start[1]]
    return "".join(sheets) + found[1]


def _apart(html: str, hidden: Hidden) -> tuple[str, str, str, list[str]]:
    """The HTML without its style sheets, the rules to be inlined, those that only a sheet can carry (@media), and the
    names of those that are kept nowhere."""
    said = without(html, *_COMMENTED)
    sheets = [said[start.end() : end.start()] for start, end in between(said, *_STYLE)]
    for sheet in sheets:
        for number in hidden.numbers(sheet):
            raise SlotFault(hidden.slots[number], "stands in <style>, where a value could become markup")
    css = without("\n".join(sheets), *_CSS_COMMENT)
    media = "".join(" ".join(found[0].split()) for found in _MEDIA.finditer(css))
    css = _MEDIA.sub("", css)
    lost = sorted({found.lower() for found in re.findall(r"@[\w-]+", css)})
    if not css_is_safe(media):
        media, lost = "", ["@media", *lost]
    return without(html, *_STYLE) if sheets else html, css, media, lost


def _moved(hidden: Hidden, before: str, after: str) -> Slot | None:
    """A tag for whose branches cleaning made another page, if there is one.

    A parser closes what an author left open, and does not know that only one branch of an `if` is shown. So every
    branch is tried: cleaning what is rendered must show what rendering what was cleaned shows.
    """
    branching = [slot for slot in hidden.slots if slot.tag]
    if not branching:
        return None
    try:
        written, served = (parse_body(hidden.restore(html, repeated=True)) for html in (before, after))
    except NotInTheLanguage as error:  # cleaning writes some characters longer
        raise CannotServe(f"is, once it is cleaned, {error}; shorten it") from error
    fields = sorted(map(str, written.analyze().globals))
    for given in _trials(fields):
        values = dict.fromkeys(given, "1")
        try:
            one, other = written.render(values), served.render(values)
        except Exception:  # noqa: BLE001, S112  # a field that is missing is judged elsewhere
            continue
        if outline(one) != outline(other):
            return _first_moved(hidden, before, after) or branching[0]
    return None


def _trials(fields: Sequence[str]) -> Iterator[Iterable[str]]:
    yield fields
    yield ()
    for field in fields[:_TRIALS]:
        yield (field,)
        yield (one for one in fields if one != field)


def _first_moved(hidden: Hidden, before: str, after: str) -> Slot | None:
    """The last branching slot before the first element that differs."""
    parts = re.compile(rf"<!--{hidden.token}x\d+x-->|</?[a-zA-Z][a-zA-Z0-9]*")
    last: Slot | None = None
    for one, other in zip(parts.findall(before), parts.findall(after), strict=False):
        if one.lower() != other.lower():
            return last
        for number in hidden.numbers(one):
            last = hidden.slots[number] if hidden.slots[number].tag else last
    return last
