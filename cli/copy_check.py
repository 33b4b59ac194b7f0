"""Whether a variant's texts can be served, judged at import by the generator's own rules. Pure.

What is refused here would be control content for somebody later, without anybody noticing. A fault says where it is,
what is wrong, and what to do.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from uuid import UUID

from cli.copy_fields import FieldUse, read_fields
from shared.rendering.copy import BODY_BYTES, PREHEADER_CHARS, SUBJECT_CHARS, RenderError, compile_copy
from shared.rendering.language import NotInTheLanguage, parse_body, parse_header, pieces
from shared.rendering.places import SCHEMES, links_of, scheme_of
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.template_file import VariantCopy

CLIPPED_BYTES = 60_000
"""Gmail cuts a mail off near 102 KB and loses the open pixel; what Klaviyo puts around and into a body counts too."""

_KLAVIYO_TAG = re.compile(
    r"\{%-?\s*(?P<tag>(?:unsubscribe|web_view|manage_preferences|catalog|coupon_code|web_feed|current_)\w*)"
    r"|\{\{-?\s*(?P<value>(?:person|event|organization)\s*[.\[][^}]*|[^}]*\|\s*lookup\b[^}]*)"
)
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#x?[0-9a-f]+);", re.IGNORECASE)
_SAMPLE = "1"  # a number to arithmetic, a word to everything else

_WHY = {
    "empty_subject": "shows no subject; give it words that do not depend on a field",
    "empty_body": "shows no body; give it words that do not depend on a field",
    "body_too_large": f"is larger than the {BODY_BYTES // 1000} KB that fit a profile; shorten it",
    "unsafe_link": f"has a link that is none of {', '.join(sorted(SCHEMES))}",
    "render_limit": "loops or grows too much; repeat less",
    "render_failed": "cannot be computed: a filter does not fit its value",
    "unfilled_tag": "still shows {{ or {% when all is filled in, and Klaviyo fills in nothing inside a profile "
    "property; take it out (also from {% raw %})",
    "field_missing": "prints a field that may be missing; give it a fallback: {{ field | default: 'words' }}",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`place` is subject, preheader or body; `line` counts within it. A warning does not stop the import."""

    variant: str
    place: str
    line: int | None
    what: str
    warning: bool = False

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line is not None else ""
        return f'variant "{self.variant}", {self.place}{line}: {self.what}'


def check_variant(variant: VariantCopy, required_fields: Iterable[str] = ()) -> list[Finding]:
    """All faults and warnings of one variant; none: every person it is shown to can be shown it."""
    required = frozenset(required_fields)
    findings: list[Finding] = []
    uses: list[FieldUse] = []
    for place, text in (("subject", variant.subject), ("preheader", variant.preheader), ("body", variant.body)):
        found: list[tuple[int | None, str]] = [*_klaviyo_tags(text)]
        if not found:
            try:
                template = parse_body(text) if place == "body" else parse_header(text)
            except NotInTheLanguage as error:
                found = [(_line_of_error(text, error), f"{error}. {_ALLOWED}")]
            else:
                use = read_fields(template, required)
                uses.append(use)
                found = [*_field_faults(text, use)]
        findings += [Finding(variant.name, place, line, what) for line, what in found]
    if findings:
        return findings
    return list(_check_whole(variant, required, frozenset().union(*(use.all for use in uses))))


_ALLOWED = "Copy is Liquid with the tags if, unless, case, for, assign, capture, comment and the filters of text"


def _klaviyo_tags(text: str) -> Iterator[tuple[int, str]]:
    for found in _KLAVIYO_TAG.finditer(text):
        shown = text[found.start() : found.end()].strip()
        if found["tag"]:
            advice = "keep it in the email template, around the snippet"
        else:
            advice = "send the value as a field of the webhook, and name the field here"
        yield (
            _line(text, found.start()),
            f"{shown} … is Klaviyo's, who fills in nothing inside a profile property; {advice}",
        )


def _field_faults(text: str, use: FieldUse) -> Iterator[tuple[int, str]]:
    for name, at in use.unsure.items():
        yield (
            _line(text, at),
            f"{{{{ {name} }}}} has no fallback, so whoever has no {name} would get the control content; write "
            f"{{{{ {name} | default: 'words' }}}} or {{% if {name} %}}, or list {name} under required_fields if "
            "that is wanted",
        )
    for path, at in use.members.items():
        yield (
            _line(text, at),
            f"{path} asks for a part of a field, but fields are plain texts; send it as one of its own",
        )


def _check_whole(variant: VariantCopy, required: frozenset[str], fields: frozenset[str]) -> Iterator[Finding]:
    """What shows only in the whole: links, size, and a trial rendering with every field and with only the required."""

    def found(place: str, what: str, *, warning: bool = False) -> Finding:
        return Finding(variant.name, place, None, what, warning)

    source = VariantSource(UUID(int=0), 1, variant.subject, variant.preheader, variant.body)
    try:
        compiled = compile_copy(source)
    except RenderError as error:  # every text was parsed before: what is left is a value in an unsafe place
        yield found("body", f"{error}, where a value could become markup; put it into text or a quoted attribute")
        return
    yield from (found("body", what) for what in _link_faults(variant.body))
    for given in (fields | required, required):
        try:
            shown = compiled.render(dict.fromkeys(given, _SAMPLE))
        except RenderError as error:
            place = "subject" if error.reason == "empty_subject" else "body"
            yield found(place, _WHY.get(error.reason, f"cannot be rendered ({error.reason})"))
            return
    if not _shows_something(shown.body):
        yield found("body", "shows neither words nor a picture")
    for place, what in _looks(shown, variant.body):
        yield found(place, what, warning=True)


def _link_faults(body: str) -> Iterator[str]:
    for tag, name, url in dict.fromkeys(links_of(pieces(body))):
        begins = f'{name}="{url[:60]}" of <{tag}>'
        scheme = scheme_of(url)
        if scheme is not None and scheme not in SCHEMES:
            yield f"{begins} is none of {', '.join(sorted(SCHEMES))}; mail programs block it"
        elif scheme is None and not url.strip().startswith("#"):
            yield f"{begins} leads nowhere in a mail; write it whole, with https://"


def _looks(shown: Vars, body: str) -> Iterator[tuple[str, str]]:
    """What can be served, but hardly was meant."""
    size = max(len(shown.body.encode()), len(body.encode()))
    if size > CLIPPED_BYTES:
        yield "body", f"has {size} bytes; above {CLIPPED_BYTES} Gmail may cut the mail off and lose the open pixel"
    for place, text, most in (
        ("subject", shown.subject, SUBJECT_CHARS),
        ("preheader", shown.preheader, PREHEADER_CHARS),
    ):
        if text.endswith("…") and len(text) >= most - 1:
            yield place, f"is longer than {most} characters and would be cut"
        if entity := _ENTITY.search(text):
            yield place, f"is plain text, so {entity[0]} would be seen as it stands; write the character itself"


class _Sight(HTMLParser):
    """Whether anything in a body is seen."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.something = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.something |= tag in ("img", "video") or any(name == "background" for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.something |= self.cdata_elem is None and bool(data.strip())


def _shows_something(body: str) -> bool:
    sight = _Sight()
    sight.feed(body)
    sight.close()
    return sight.something


def _line_of_error(text: str, error: NotInTheLanguage) -> int | None:
    at = getattr(getattr(error.__cause__, "token", None), "start_index", -1)
    return _line(text, at) if isinstance(at, int) and at >= 0 else None


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
