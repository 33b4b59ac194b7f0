"""Fills a person's fields into approved copy. Pure, and safe for hostile values; every failure has a stable reason.

Values are escaped in the body, which is HTML; subject and preheader are plain text on one line.
"""

import re
import unicodedata
from dataclasses import dataclass

import orjson
from liquid import BoundTemplate
from liquid.exceptions import ResourceLimitError, UndefinedError

from shared.rendering.language import NotInTheLanguage, parse_body, parse_header, pieces, shown_to_some, surely_shown
from shared.rendering.places import UnsafePlace, links_are_safe, marked, settled, value_may_start_link
from shared.rendering.sight import may_hide, says_something, shows_something
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.jobs import Fields

SUBJECT_CHARS = 250
PREHEADER_CHARS = 500
BODY_BYTES = 80_000
"""Klaviyo takes 100 KB a request, and whether that is 1,000 or 1,024 is not known; Gmail clips near 102 KB of mail."""

BODY_JSON_BYTES = 90_000
"""The same limit seen from the request: quotes and line ends double in JSON."""

# C0 and C1 controls except tab and line feed, what turns the reading direction of the text around it, lone surrogates.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


class RenderError(Exception):
    """This copy cannot be shown to this person. `reason` is a stable code; the text never holds a value."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CompiledCopy:
    """One variant version, parsed and found safe."""

    subject: BoundTemplate
    preheader: BoundTemplate
    body: BoundTemplate
    check_links: bool
    check_sight: bool

    def render(self, fields: Fields) -> Vars:
        """The three texts for one person. Raises RenderError."""
        values = {name: value if value.isprintable() else _UNWANTED.sub("", value) for name, value in fields.items()}
        subject = _one_line(_fill(self.subject, values), SUBJECT_CHARS)
        preheader = _one_line(_fill(self.preheader, values), PREHEADER_CHARS)
        body, leads = _fill(self.body, values), True
        if self.check_links:
            body, leads = settled(body)
        if not says_something(subject):
            raise RenderError("empty_subject")
        if self.check_sight and not shows_something(body):
            raise RenderError("empty_body")
        if len(body) > BODY_BYTES // 4 and _too_large(body):
            raise RenderError("body_too_large")
        if self.check_links and not (leads and links_are_safe(body)):
            raise RenderError("unsafe_link")
        return Vars(subject, preheader, body)


def compile_copy(source: VariantSource) -> CompiledCopy:
    """Parse one variant version. Raises RenderError `copy_broken` or `unsafe_place`, with a message for its author."""
    try:
        subject, preheader = parse_header(source.subject), parse_header(source.preheader)
        body = parse_body(source.body)
        check_links = value_may_start_link(pieces(source.body))
        check_sight = not shows_something(surely_shown(body)) or may_hide(shown_to_some(body))
        if check_links:
            body = parse_body(marked(source.body))
        return CompiledCopy(subject, preheader, body, check_links, check_sight)
    except NotInTheLanguage as error:
        raise RenderError("copy_broken", str(error)) from error
    except UnsafePlace as error:
        raise RenderError("unsafe_place", str(error)) from error


def _fill(template: BoundTemplate, values: dict[str, str]) -> str:
    try:
        text = template.render(values)
    except UndefinedError as error:
        raise RenderError("field_missing") from error
    except ResourceLimitError as error:
        raise RenderError("render_limit") from error
    except Exception as error:  # whatever the engine meets in a person's values: this person gets control
        raise RenderError("render_failed", type(error).__name__) from error
    if _holds_tag(text):
        raise RenderError("unfilled_tag")
    return text


def _holds_tag(text: str) -> bool:
    # By single braces: looking for a pair takes 10 times as long in a body without one.
    at = text.find("{")
    while at >= 0:
        if text[at + 1 : at + 2] in ("{", "%"):
            return True
        at = text.find("{", at + 1)
    return False


def _one_line(text: str, max_chars: int) -> str:
    line = unicodedata.normalize("NFC", _BLANKS.sub(" ", text)).strip()
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"


def _too_large(body: str) -> bool:
    size = len(body.encode())
    return size > BODY_BYTES or (size > BODY_JSON_BYTES // 2 and len(orjson.dumps(body)) > BODY_JSON_BYTES)
