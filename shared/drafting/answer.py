"""From what a model answered to a draft, or the faults that keep it from being one; and whether it does as the brief
says. Pure. What a model writes is a stranger's text: nothing in it is trusted before the checks have seen it."""

import re
from collections.abc import Iterable, Iterator

import orjson
from pydantic import ValidationError

from shared.content.faults import Finding
from shared.content.fields import read_fields
from shared.content.wording import filled, phrase, visible
from shared.drafting.brief import Brief
from shared.drafting.prompt import TEXTS
from shared.html_reader import HtmlReader
from shared.rendering.language import NotInTheLanguage, parse_body, parse_header
from shared.schemas.template_file import VariantCopy

_NAME_CHARS = 100
_SHOWN_KEYS = 5
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>?")
_SPELLED = re.compile(r"https?://[^\s\"'<>)]*[^\s\"'<>).,;:!?]")


class Unreadable(Exception):
    """The answer is no draft; says all that is wrong with it, by field."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def read_draft(text: str, *, theme: str) -> VariantCopy:
    """The draft under the name that the model gave it. Raises Unreadable."""
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"the answer is no JSON ({error.msg}, character {error.pos})") from None
    if not isinstance(raw, dict):
        raise Unreadable("the answer is no JSON object")
    if faults := tuple(_faults(raw)):
        raise Unreadable(*faults)
    name = " ".join(raw["name"].split())[:_NAME_CHARS].strip()
    texts = {place: " ".join(raw[place].split()) for place in ("subject", "preheader")}
    try:
        return VariantCopy(name=name, theme=theme, body=raw["body"].strip(), **texts)
    except ValidationError as error:
        raise Unreadable(*_told(error)) from None


def _faults(raw: dict[str, object]) -> Iterator[str]:
    for place in TEXTS:
        if place not in raw:
            yield f"{place}: is missing"
        elif not isinstance(value := raw[place], str):
            yield f"{place}: must be a text"
        elif not value.strip():
            yield f"{place}: is empty"
    if unknown := [key for key in raw if key not in TEXTS]:
        yield f"{', '.join(map(ascii, unknown[:_SHOWN_KEYS]))}: was not asked for"


def _told(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_input=False, include_url=False):
        yield f"{'.'.join(map(str, fault['loc'])) or 'draft'}: {fault['msg'].removeprefix('Value error, ')}"


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, with a number behind it where it is taken."""
    known = {one.casefold() for one in taken}
    free, number = name, 1
    while free.casefold() in known:
        number += 1
        tail = f" {number}"
        free = f"{name[: _NAME_CHARS - len(tail)]}{tail}"
    return free


def keeps_the_brief(draft: VariantCopy, brief: Brief) -> list[Finding]:
    """What of the brief a draft does not keep. Each finding keeps it from going into review by itself: a person who
    wants it all the same submits it."""
    return [
        Finding(draft.name, place, None, what, check=check, approval=True)
        for check, place, what in _against(draft, brief)
    ]


def _against(draft: VariantCopy, brief: Brief) -> Iterator[tuple[str, str, str]]:
    texts = {
        "subject": filled(draft.subject), "preheader": filled(draft.preheader), "body": visible(filled(draft.source)),
    }  # fmt: skip
    for words in brief.must_say:
        if not any(phrase(words).search(text) for text in texts.values()):
            yield "brief_must_say", "body", f'does not say "{words}", as the brief wants'
    for words in brief.must_not_say:
        for place, text in texts.items():
            if phrase(words).search(text):
                yield "brief_must_not_say", place, f'says "{words}", which the brief rules out'
    for place in ("subject", "preheader"):
        if found := _MARKUP.search(texts[place]):
            yield "brief_plain_text", place, f"holds the markup {found[0][:40]}, which people would read as it stands"
    for place, names in _fields(draft):
        if foreign := sorted(names - {*brief.fields}):
            yield (
                "brief_field",
                place,
                f"prints {', '.join(foreign)}; the brief allows {', '.join(brief.fields) or 'no field'}",
            )
    for url in dict.fromkeys([*_addresses(draft.source), *_SPELLED.findall(texts["body"])]):
        if url not in brief.links:
            yield "brief_link", "body", f"names the address {url[:100]}, which is none of the brief's links"


def _fields(draft: VariantCopy) -> Iterator[tuple[str, set[str]]]:
    for place, text in (("subject", draft.subject), ("preheader", draft.preheader), ("body", draft.source)):
        try:
            template = parse_body(text) if place == "body" else parse_header(text)
        except NotInTheLanguage:
            continue  # the checks say so
        yield place, read_fields(template).all


def _addresses(html: str) -> list[str]:
    reader = _Addresses()
    reader.feed(html)
    reader.close()
    return reader.found


class _Addresses(HtmlReader):
    """Where links lead and pictures come from, in HTML and MJML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            re.sub(r"\s+", "", value) for name, value in attrs if name in ("href", "src", "background") and value
        ]
