"""What did this person's email show? Two pure steps: look at the rendered email, then judge it.

Looking happens at the moment of sending and needs the texts; judging may happen later, when it is known whether a
write that was missing came after all and whether control was planned. Exactly one outcome comes out.

| outcome | what was shown |
|---|---|
| right | the copy of the newest generation that this message's webhook was answered with |
| control_planned | control, and the service had decided so |
| control_missed | control, although copy was due; the reason says what did not happen in time |
| blank | no subject, or no text and no picture in the body |
| stale | copy of an older generation of the same message |
| foreign | copy that was made for another message, or for another person |
| broken | the render failed, a tag is left over, a value stands unescaped or escaped twice, or texts are mixed |
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from simulator.flow.templating import Rendered
from simulator.profile import Copy

Decision = Literal["treatment", "control"]

# A value shorter than this cannot be told from the copy's own markup (`<b>`), so it proves nothing.
PROBE_MIN_LENGTH = 6
# Text of the mail's frame, not of its content: the footer, and the links of the unsubscribe and web-view tags.
FRAME = re.compile(
    r"<footer\b.*?</footer\s*>|<a href=\"https://manage\.kmail\.example/[^>]*>.*?</a>|<(head|style|script|title)\b.*?</\1\s*>|<!--.*?-->",
    re.IGNORECASE | re.DOTALL,
)
ELEMENT = re.compile(r"<[^>]*>")
MARKUP = re.compile(r"<[a-zA-Z/!]")
INVISIBLE = str.maketrans("", "", "\u00ad\u034f\u200b\u200c\u200d\u2060\ufeff")


class Kind(StrEnum):
    RIGHT = "right"
    CONTROL_PLANNED = "control_planned"
    CONTROL_MISSED = "control_missed"
    BLANK = "blank"
    STALE = "stale"
    FOREIGN = "foreign"
    BROKEN = "broken"


FAULTS = frozenset({Kind.BLANK, Kind.STALE, Kind.FOREIGN, Kind.BROKEN})


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: Kind
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen, without the texts. `shown` are the generations whose copy equals what was shown."""

    broken: str = ""
    blank: str = ""
    shown: frozenset[str] = frozenset()
    control: bool = False
    partly: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Due:
    """What should have been shown.

    `newest` is the newest generation that the entry's webhook was answered with before the email left, None when
    there was none. `older` are the other generations of this message for this person. `missing` says why the newest
    could not be seen, in the words of control_missed.
    """

    newest: str | None
    older: frozenset[str]
    decision: Decision
    missing: str


def look(shown: Rendered, control: Rendered | None, copies: Sequence[Copy], values: Iterable[str]) -> Sight:
    """Compare one rendered email with every copy known by then.

    `control` is the same template rendered for the person without any generated property, `values` are the person's
    own field and property texts. Copies written later cannot have been shown and are not passed.
    """
    if broken := _broken(shown, values):
        return Sight(broken=broken)
    matching = frozenset(copy.generation_id for copy in copies if _equals(copy, shown))
    is_control = control == shown
    return Sight(
        blank=_blank(shown) or ("" if matching or is_control else _blank_within(shown, control)),
        shown=matching,
        control=is_control,
        partly=frozenset(copy.generation_id for copy in copies if _touches(copy, shown)) - matching,
    )


def judge(sight: Sight, due: Due) -> Outcome:
    """The one outcome. Where equal texts fit several, the newest generation is believed first, then control, then the
    same message's older copy, then another message's or person's."""
    if sight.broken:
        return Outcome(Kind.BROKEN, sight.broken)
    if sight.blank:
        return Outcome(Kind.BLANK, sight.blank)
    if due.newest is not None and due.newest in sight.shown:
        return Outcome(Kind.RIGHT)
    if sight.control:
        if due.newest is not None and due.decision == "control":
            return Outcome(Kind.CONTROL_PLANNED)
        return Outcome(Kind.CONTROL_MISSED, due.missing)
    if sight.shown & due.older:
        return Outcome(Kind.STALE)
    if sight.shown:
        return Outcome(Kind.FOREIGN)
    return Outcome(Kind.BROKEN, "mixed texts" if sight.partly else "unknown text")


def missing_reason(
    newest: str | None,
    webhook: str,
    written_at: datetime | None,
    sent_at: datetime,
    marker: str | None,
) -> str:
    """Why the newest generation was not to be seen at `sent_at`.

    `webhook` is the state of the entry's webhook in a word, `written_at` the first write that carried the generation,
    `marker` the generation named on the profile at the moment of sending.
    """
    if newest is None:
        return webhook
    if written_at is None:
        return "write_missing"
    if written_at > sent_at:
        return "write_late"
    if marker is None:
        return "cleared"
    return "not_shown" if marker == newest else "superseded"


def _equals(copy: Copy, shown: Rendered) -> bool:
    return (
        bool(copy.body.strip())
        and copy.subject.strip() == shown.subject.strip()
        and copy.preheader.strip() == shown.preview_text.strip()
        and copy.body.strip() in shown.html
    )


def _touches(copy: Copy, shown: Rendered) -> bool:
    body = copy.body.strip()
    return copy.subject.strip() == shown.subject.strip() or bool(body and body in shown.html)


def _blank(shown: Rendered) -> str:
    if not _visible(shown.subject):
        return "subject"
    content = FRAME.sub(" ", shown.html)
    if "<img" in content.lower() or _visible(html.unescape(ELEMENT.sub(" ", content))):
        return ""
    return "body"


def _blank_within(shown: Rendered, control: Rendered | None) -> str:
    """Blank inside a frame that has a text of its own: what the email and its control share on both ends is the frame.

    Asked only for an email that shows nothing known, so that a copy which begins like control is not mistaken.
    """
    if control is None:
        return ""
    head = _shared_length(shown.html, control.html)
    backwards, control_backwards = shown.html[head:][::-1], control.html[head:][::-1]
    content = backwards[_shared_length(backwards, control_backwards) :][::-1]
    return "" if "<img" in content.lower() or _visible(html.unescape(ELEMENT.sub(" ", content))) else "body"


def _shared_length(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _visible(text: str) -> str:
    return text.translate(INVISIBLE).strip()


def _broken(shown: Rendered, values: Iterable[str]) -> str:
    for part, text in (("subject", shown.subject), ("preheader", shown.preview_text), ("body", shown.html)):
        if "{{" in text or "{%" in text:
            return f"unfilled tag in {part}"
    for value in values:
        if len(value) < PROBE_MIN_LENGTH or not any(mark in value for mark in "<>&\"'"):
            continue
        if MARKUP.search(value) and value in shown.html:
            return "unescaped value in body"
        if _escaped_once_too_often(value, shown.html, allowed=1):
            return "value escaped twice in body"
        for part, text in (("subject", shown.subject), ("preheader", shown.preview_text)):
            if _escaped_once_too_often(value, text, allowed=0):
                return f"escaped value in {part}"
    return ""


def _escaped_once_too_often(value: str, text: str, allowed: int) -> bool:
    """Whether `value` appears in `text` only after more unescaping than `allowed` layers of it."""
    for _ in range(allowed):
        if value in text:
            return False
        text = html.unescape(text)
    return value not in text and value in html.unescape(text)


def own_values(fields: Mapping[str, object], properties: Mapping[str, object]) -> list[str]:
    """The texts of a person that may turn up inside copy."""
    return [value for value in (*fields.values(), *properties.values()) if isinstance(value, str)]
