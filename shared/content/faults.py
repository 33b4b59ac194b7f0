"""Whether a variant's texts can be served, judged at save by the generator's own rules. Pure.

What is refused here would be control content for somebody later, without anybody noticing. A fault says where it is,
what is wrong, and what to do.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from shared.content.fields import FieldUse, read_fields
from shared.content.klaviyo_tags import klaviyo_tags
from shared.content.served import CannotServe, serve
from shared.rendering.copy import BODY_BYTES, PREHEADER_CHARS, SUBJECT_CHARS, RenderError, compile_copy
from shared.rendering.language import NotInTheLanguage, parse_body, parse_header, pieces, too_much
from shared.rendering.link_fields import link_fields
from shared.rendering.places import SCHEMES, links_of, scheme_of
from shared.schemas.copy import VariantSource, Vars
from shared.schemas.template_file import VariantCopy

Severity = Literal["blocking", "warning"]

CLIPPED_BYTES = 60_000
"""Gmail cuts a mail off near 102 KB and loses the open pixel; what Klaviyo puts around and into a body counts too."""

_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#x?[0-9a-f]+);", re.IGNORECASE)
_SAMPLE = "1"  # a number to arithmetic, a word to everything else
_SAMPLE_LINK = "https://shop.example/1"

_WHY = {
    "empty_subject": "shows no subject; give it words that do not depend on a field",
    "empty_body": "shows neither words nor a picture to whoever lacks a field, or to all; give it words that do not "
    "depend on one",
    "body_too_large": f"is larger than the {BODY_BYTES // 1000} KB that fit a profile; shorten it",
    "unsafe_link": f"has a link that is none of {', '.join(sorted(SCHEMES))}, for whoever lacks a field or for all; "
    "let its fallback be a whole address, with https://",
    "render_limit": "loops or grows too much; repeat less",
    "render_failed": "cannot be computed: a filter does not fit its value",
    "unfilled_tag": "still shows {{ or {% when all is filled in, and Klaviyo fills in nothing inside a profile "
    "property; take it out (also from {% raw %})",
    "field_missing": "prints a field that may be missing; give it a fallback: {{ field | default: 'words' }}",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`place` is subject, preheader or body; `line` counts within it. A warning stops nothing. `check` names the check,
    for machines and for the table of checks; `approval`: what it stops is the approval alone, not the saving."""

    variant: str
    place: str
    line: int | None
    what: str
    warning: bool = False
    check: str = "can_be_served"
    approval: bool = False

    @property
    def where(self) -> str:
        """For whoever wrote it."""
        line = f", line {self.line}" if self.line is not None else ""
        return f'variant "{self.variant}", {self.place}{line}'

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One variant, read. `served` are the texts to be stored, None while a fault keeps them from being made; `shown`
    is a trial rendering with every field. `too_much`: nothing was read, and nothing else is to read it."""

    findings: list[Finding]
    served: Vars | None = None
    shown: Vars | None = None
    too_much: bool = False


def check_variant(variant: VariantCopy, required_fields: Iterable[str] = ()) -> list[Finding]:
    """All faults and warnings of one variant; none: every person it is shown to can be shown it."""
    return read_variant(variant, required_fields).findings


def read_variant(
    variant: VariantCopy, required_fields: Iterable[str] = (), *, missing_default: Severity = "blocking"
) -> Reading:
    """The same, with the texts that are served. `missing_default`: how bad a field without a fallback is."""
    required = set(required_fields)
    lenient = missing_default == "warning"
    findings: list[Finding] = []
    uses: list[FieldUse] = []
    texts = (("subject", variant.subject), ("preheader", variant.preheader), ("body", variant.source))
    if more := [
        Finding(variant.name, place, None, f"{fault}. {_ALLOWED}", check="language")
        for place, text in texts
        if (fault := too_much(text))
    ]:
        return Reading(more, too_much=True)
    for place, text in texts:
        tags = [
            Finding(variant.name, place, _line(text, at), what, check="klaviyo_tag") for at, what in klaviyo_tags(text)
        ]
        if tags:
            findings += tags
            continue
        try:
            template = parse_body(text) if place == "body" else parse_header(text)
        except NotInTheLanguage as error:
            what = f"{error}. {_ALLOWED}"
            findings.append(Finding(variant.name, place, _line_of_error(text, error), what, check="language"))
            continue
        use = read_fields(template, required)
        uses.append(use)
        findings += [
            Finding(variant.name, place, line, what, lenient, "missing_default") for line, what in _unsure(text, use)
        ]
        findings += [Finding(variant.name, place, line, what, check="field_part") for line, what in _members(text, use)]
    if any(not finding.warning for finding in findings):
        return Reading(findings)
    if lenient:
        required |= {name for use in uses for name in use.unsure}
    whole = _read_whole(variant, frozenset(required), frozenset().union(*(use.all for use in uses)))
    return Reading([*findings, *whole.findings], whole.served, whole.shown)


_ALLOWED = "Copy is Liquid with the tags if, unless, case, for, assign, capture, comment and the filters of text"


def _unsure(text: str, use: FieldUse) -> Iterator[tuple[int, str]]:
    for name, at in use.unsure.items():
        yield (
            _line(text, at),
            f"{{{{ {name} }}}} has no fallback, so whoever has no {name} would get the control content; write "
            f"{{{{ {name} | default: 'words' }}}} or {{% if {name} %}}, or list {name} under required_fields "
            "in the template's file if that is wanted",
        )


def _members(text: str, use: FieldUse) -> Iterator[tuple[int, str]]:
    for path, at in use.members.items():
        yield (
            _line(text, at),
            f"{path} asks for a part of a field, but fields are plain texts; send it as one of its own",
        )


def _read_whole(variant: VariantCopy, required: frozenset[str], fields: frozenset[str]) -> Reading:
    """What shows only in the whole: links, size, cleaning, and a trial rendering with every field and with only the
    required ones."""

    def found(place: str, what: str, check: str, *, warning: bool = False, line: int | None = None) -> Finding:
        return Finding(variant.name, place, line, what, warning, check)

    try:
        made = serve(variant.source)
        served = Vars(variant.subject, variant.preheader, made.body)
        compiled = compile_copy(VariantSource(UUID(int=0), 1, *served))
    except CannotServe as error:
        return Reading([found("body", str(error), "cleaning", line=error.line)])
    except RenderError as error:  # every text was parsed before: what is left is a value in an unsafe place
        what = f"{error}, where a value could become markup; put it into text or a quoted attribute"
        return Reading([found("body", what, "unsafe_place")])
    findings = [found("body", what, "link") for what in _link_faults(made.body if variant.is_mjml else variant.body)]
    try:
        links = link_fields(compiled.body)
        compiled.render(_sampled(required, links))
        shown = compiled.render(_sampled(fields | required, links))
    except RenderError as error:
        place = "subject" if error.reason == "empty_subject" else "body"
        check = "body_size" if error.reason == "body_too_large" else "can_be_served"
        what = _WHY.get(error.reason, f"cannot be rendered ({error.reason})")
        return Reading([*findings, found(place, what, check)])
    if made.removed and not findings:
        what = f"{', '.join(made.removed)}: not for mail, so taken out of what is served"
        findings.append(found("body", what, "removed_markup", warning=True))
    findings += [found(place, what, check, warning=True) for place, what, check in _looks(shown, made.body)]
    return Reading(findings, served, shown)


def _sampled(fields: Iterable[str], links: frozenset[str]) -> dict[str, str]:
    """A value for each field; an address where a link begins with it, for the copy is judged, not the value."""
    return {name: _SAMPLE_LINK if name in links else _SAMPLE for name in fields}


def _link_faults(body: str) -> Iterator[str]:
    for tag, name, url in dict.fromkeys(links_of(pieces(body))):
        begins = f'{name}="{url[:60]}" of <{tag}>'
        scheme = scheme_of(url)
        if scheme is not None and scheme not in SCHEMES:
            yield f"{begins} is none of {', '.join(sorted(SCHEMES))}; mail programs block it"
        elif scheme is None and not url.strip().startswith("#"):
            yield f"{begins} leads nowhere in a mail; write it whole, with https://"


def _looks(shown: Vars, body: str) -> Iterator[tuple[str, str, str]]:
    """What can be served, but hardly was meant."""
    size = max(len(shown.body.encode()), len(body.encode()))
    if size > CLIPPED_BYTES:
        yield (
            "body",
            f"has {size} bytes; above {CLIPPED_BYTES} Gmail may cut the mail off and lose the open pixel",
            "body_size",
        )
    for place, text, most in (
        ("subject", shown.subject, SUBJECT_CHARS),
        ("preheader", shown.preheader, PREHEADER_CHARS),
    ):
        if text.endswith("…") and len(text) >= most - 1:
            yield place, f"is longer than {most} characters and would be cut", f"{place}_length"
        if entity := _ENTITY.search(text):
            what = f"is plain text, so {entity[0]} would be seen as it stands; write the character itself"
            yield place, what, "entity"


def _line_of_error(text: str, error: NotInTheLanguage) -> int | None:
    at = getattr(getattr(error.__cause__, "token", None), "start_index", -1)
    return _line(text, at) if isinstance(at, int) and at >= 0 else None


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
