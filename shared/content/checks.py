"""The checks that copy passes before it is approved. Deterministic, without the network. Pure.

Each finding is blocking (no approval) or a warning, says where, and what to do. `CHECKS` is the table of all of them.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice
from urllib.parse import urlsplit

import orjson

from shared.content.between import with_tags
from shared.content.faults import Finding, Reading, Severity, read_variant
from shared.content.rules import DEFAULT, OrgRules
from shared.content.wording import ALIKE, SPAM_PHRASES, URGENCY, codes, filled, likeness, phrase, shouted, visible
from shared.html_reader import HtmlReader
from shared.rendering.copy import BODY_BYTES
from shared.schemas.copy import Vars
from shared.schemas.template_file import VariantCopy

SUBJECT_MOST, SUBJECT_LONG = 150, 50
PREHEADER_MOST, PREHEADER_GOOD = 150, range(40, 111)
GMAIL_CLIPS_BYTES = 102_000
MOST_OF_A_KIND = 50
"""So many links, pictures or codes are told of; to find the line of each of thousands would take minutes."""

_SHELL_BYTES, _TRACKED_LINK_BYTES = 8_000, 250  # what Klaviyo puts around a body, and makes of each link
_SHORTENERS = frozenset(
    {"bit.ly", "tinyurl.com", "goo.gl", "t.co", "ow.ly", "is.gd", "buff.ly", "rebrand.ly", "cutt.ly", "tiny.cc",
     "shorturl.at", "rb.gy", "bl.ink", "t.ly", "lnkd.in"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table: its name, how bad it is, what it looks for."""

    name: str
    severity: str
    looks_for: str


CHECKS = (
    Check("klaviyo_tag", "blocking", "Klaviyo's own tags: nobody fills them in inside a property"),
    Check("language", "blocking", "what is not the Liquid of copy"),
    Check("missing_default", "blocking, or a warning if the org says so", "a field that is printed without a fallback"),
    Check("field_part", "blocking", "a part of a field, like `address.city`"),
    Check("cleaning", "blocking", "a Liquid tag where HTML cannot keep it, MJML or CSS that cannot be read"),
    Check("unsafe_place", "blocking", "a value where escaping does not protect"),
    Check("can_be_served", "blocking", "a trial rendering, with all fields or only the required ones, that fails"),
    Check("removed_markup", "warning", "markup that is not for mail and was taken out"),
    Check("entity", "warning", "`&amp;` and the like in subject or preheader, which are plain text"),
    Check("subject_length", "blocking", f"more than {SUBJECT_MOST} characters; a warning above {SUBJECT_LONG}"),
    Check("preheader_length", "blocking", f"more than {PREHEADER_MOST} characters; a warning outside 40 to 110"),
    Check("subject_is_preheader", "warning", "a preheader that says what the subject says"),
    Check("body_size", "blocking", f"a body above {BODY_BYTES // 1000} KB encoded; a warning above 60 KB"),
    Check("gmail_clip", "warning", "a mail that Gmail would cut off near 102 KB, with what Klaviyo adds"),
    Check("link", "blocking", "a link without or with another scheme, an empty one, a bare IP address"),
    Check("link_shortener", "warning", "a link through a shortener, which filters distrust"),
    Check("link_anchor", "warning", "a link to an anchor that is not there"),
    Check("image", "blocking", "a picture that does not come by https"),
    Check("image_alt", "warning", "a picture without an alternative text (`alt=\"\"` where it only decorates)"),
    Check("banned_word", "blocking", "a word or a claim of the org's lists"),
    Check("promo_code", "blocking", "a promo code that is not in the org's list, or has ended"),
    Check("urgency", "blocking", "words that press for time, without an end date (the org's rules) to come"),
    Check("shouting", "warning", "words in capitals, rows of exclamation marks"),
    Check("spam_phrase", "warning", "phrases that filters know"),
    Check("near_duplicate", "warning", f"a variant that shares {ALIKE:.0%} of another one's runs of words"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What a check needs to know beside the copy. `others`: the template's other variants by name."""

    template_id: str
    today: date
    rules: OrgRules = DEFAULT
    required_fields: tuple[str, ...] = ()
    others: Mapping[str, VariantCopy] | None = None


def check_copy(variant: VariantCopy, asked: Asked) -> Reading:
    """All findings of one variant with the texts that are served."""
    reading = read_variant(variant, asked.required_fields, missing_default=asked.rules.missing_default)
    if reading.too_much:
        return reading
    more = [
        Finding(variant.name, place, line, what, severity == "warning", check, approval=True)
        for check, severity, place, line, what in _found(variant, reading, asked)
    ]
    return Reading([*reading.findings, *more], reading.served, reading.shown)


def blocking(findings: list[Finding]) -> list[Finding]:
    """Those that stop an approval."""
    return [finding for finding in findings if not finding.warning]


_Found = tuple[str, Severity, str, int | None, str]


def _found(variant: VariantCopy, reading: Reading, asked: Asked) -> Iterator[_Found]:
    body = reading.served.body if reading.served else variant.source
    texts = {
        "subject": filled(variant.subject),
        "preheader": filled(variant.preheader),
        "body": visible(filled(body)),
    }
    written = {"subject": variant.subject, "preheader": variant.preheader, "body": variant.source}
    if reading.shown:
        yield from _lengths(reading.shown)
        yield from _sizes(reading.shown)
    if not any(found.check in ("language", "cleaning", "klaviyo_tag") for found in reading.findings):
        yield from _markup(body, variant.source)
    for place, text in texts.items():
        for check, severity, what, words in _wording(text, asked):
            yield check, severity, place, _line_of(words, written[place]), what
        if place != "body" and (loud := shouted(text)):
            yield (
                "shouting",
                "warning",
                place,
                None,
                f"shouts ({loud}); filters and readers dislike it: write it calmly",
            )
    for name, other in (asked.others or {}).items():
        if name != variant.name and (share := likeness(f"{texts['subject']} . {texts['body']}", _said(other))) >= ALIKE:
            yield (
                "near_duplicate", "warning", "body", None,
                f'says {share:.0%} of what "{name}" says; the choice between them teaches nothing: change or drop one',
            )  # fmt: skip


def _said(variant: VariantCopy) -> str:
    return f"{filled(variant.subject)} . {visible(filled(variant.source))}"


def _lengths(shown: Vars) -> Iterator[_Found]:
    subject, preheader = len(shown.subject), len(shown.preheader)
    if subject > SUBJECT_MOST:
        yield (
            "subject_length",
            "blocking",
            "subject",
            1,
            f"has {subject} characters; at most {SUBJECT_MOST} are shown anywhere",
        )
    elif subject > SUBJECT_LONG:
        yield (
            "subject_length",
            "warning",
            "subject",
            1,
            f"has {subject} characters; phones cut it off after {SUBJECT_LONG}",
        )
    if preheader > PREHEADER_MOST:
        yield (
            "preheader_length",
            "blocking",
            "preheader",
            1,
            f"has {preheader} characters; keep it below {PREHEADER_MOST}",
        )
    elif preheader not in PREHEADER_GOOD:
        what = f"has {preheader} characters; with 40 to 110 it fills its place and is not cut"
        yield "preheader_length", "warning", "preheader", 1, what
    if preheader and _plain(shown.subject) == _plain(shown.preheader):
        yield "subject_is_preheader", "warning", "preheader", 1, "says what the subject says; use the place for more"


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _sizes(shown: Vars) -> Iterator[_Found]:
    encoded = len(orjson.dumps(shown.body))
    mail = encoded + _SHELL_BYTES + shown.body.count("href=") * _TRACKED_LINK_BYTES
    if mail > GMAIL_CLIPS_BYTES:
        yield (
            "gmail_clip", "warning", "body", None,
            f"makes a mail of about {mail // 1000} KB with what Klaviyo adds; Gmail cuts off near 102 KB: shorten it",
        )  # fmt: skip


class _Links(HtmlReader):
    """Links, pictures and anchors of a body, with the lines they stand in."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.pictures: list[tuple[str, bool]] = []
        self.anchors: set[str] = set()
        self.feed(with_tags(html, lambda _: "{}"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"].strip())
        if tag in ("img", "mj-image"):
            self.pictures.append((values.get("src", "").strip(), "alt" in values))


def _markup(body: str, source: str) -> Iterator[_Found]:
    written, made = _Links(source), _Links(body)
    links = ((url, found) for url in dict.fromkeys(made.links) if (found := _link(url, made.anchors)))
    for url, (check, severity, what) in islice(links, MOST_OF_A_KIND):
        yield check, severity, "body", _line_of(url, source), what
    pictures = dict.fromkeys(url for url, _ in written.pictures)
    open_ones = (url for url in pictures if url and not re.match(r"https://|\{", url, re.IGNORECASE))
    for url in islice(open_ones, MOST_OF_A_KIND):
        yield "image", "blocking", "body", _line_of(url, source), f"shows a picture from {url[:60]}; use https://"
    bare = dict.fromkeys(url for url, described in written.pictures if not described)
    for url in islice(bare, MOST_OF_A_KIND):
        what = f'the picture {url[:60]} has no alt; say what it shows, or alt="" if it only decorates'
        yield "image_alt", "warning", "body", _line_of(url, source), what


def _link(url: str, anchors: set[str]) -> tuple[str, Severity, str] | None:
    if url.startswith("#"):
        known = url == "#" or url == "#top" or url[1:] in anchors or "{" in url
        return (
            None
            if known
            else ("link_anchor", "warning", f'the link {url[:60]} leads to nothing; put id="{url[1:60]}" there')
        )
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return "link", "blocking", f"the link {url[:60]} cannot be read; write it anew"
    if _is_address(host):
        return (
            "link",
            "blocking",
            f"the link {url[:60]} leads to a bare IP address, which filters block; use the shop's name",
        )
    if host.removeprefix("www.") in _SHORTENERS:
        return "link_shortener", "warning", f"the link {url[:60]} hides where it leads; use the address itself"
    return None


def _is_address(host: str) -> bool:
    if re.fullmatch(r"\d+|0x[0-9a-f]+", host):  # 2130706433 is 127.0.0.1 to a browser
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _wrong_codes(text: str, asked: Asked) -> Iterator[tuple[str, str]]:
    known = {one.code.upper(): one for one in asked.rules.promo_codes}
    for code in codes(text):
        if (promo := known.get(code.upper())) is None:
            yield code, "none of the org's; correct it, or add it to promo_codes of its rules"
        elif promo.ends is not None and promo.ends < asked.today:
            yield code, f"which ended on {promo.ends}; leave it out"


def _wording(text: str, asked: Asked) -> Iterator[tuple[str, Severity, str, str]]:
    """Check, severity, what to say, and the words as found."""
    rules = asked.rules
    for kind, phrases in (("word", rules.banned_words), ("claim", rules.banned_claims)):
        for words in phrases:
            if found := phrase(words).search(text):
                yield (
                    "banned_word",
                    "blocking",
                    f'says "{found[0]}", a {kind} that the org has banned; leave it out',
                    found[0],
                )
    for code, what in islice(_wrong_codes(text, asked), MOST_OF_A_KIND):
        yield "promo_code", "blocking", f"names the promo code {code}, {what}", code
    if found := URGENCY.search(text):
        ends = rules.end_dates.get(asked.template_id)
        if ends is None or ends < asked.today:
            why = f"the end date {ends} has passed" if ends else "no end date makes it true"
            what = (
                f'presses for time ("{found[0]}"), and {why}; leave it out, or set end_dates.{asked.template_id} in '
                "the org's rules"
            )
            yield "urgency", "blocking", what, found[0]
    for words in SPAM_PHRASES:
        if found := phrase(words).search(text):
            yield "spam_phrase", "warning", f'says "{found[0]}", which filters know; say it otherwise', found[0]


def _line_of(words: str, text: str) -> int | None:
    """The line in which the source says this; None where its words are spread over elements or tags."""
    found = phrase(words).search(text) if words[:1].isalnum() else None
    at = found.start() if found else text.find(words.partition("{")[0]) if words else -1
    return text.count("\n", 0, at) + 1 if at >= 0 else None


def table() -> str:
    """All checks, as a table for the docs."""
    rows = [f"| `{check.name}` | {check.severity} | {check.looks_for} |" for check in CHECKS]
    return "\n".join(["| check | severity | looks for |", "|---|---|---|", *rows])
