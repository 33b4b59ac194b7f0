"""What of attrs and fields is kept, as text. A defect drops the value, never the webhook."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from html.entities import html5
from typing import Any, cast

from services.gateway.repair import Repair, Repairs, python_list
from shared.webhook_values import MISSING, text_of

KEY_CHARS = 128
LIST_ITEMS = 64

# Only what ends in `;`, and once: Klaviyo's escaping makes `&amp;`, but the `&copy=1` of a pasted URL is no sign.
_ENTITY = re.compile(r"&(#[0-9]{1,7}+;|#[xX][0-9a-fA-F]{1,6}+;|[A-Za-z][A-Za-z0-9]{1,31}+;)")
_LONGEST_ESCAPE = 6  # `&quot;`, `&#x27;`: a text six times too long stays too long, whatever is unescaped
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


class Inexact(Exception):
    """A float: the digits it was written with are lost, read the body again with all of them."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many members of a section are kept, how many characters of each, what a loss is called, and which values
    are none (an item of a list is one of `MISSING`, whatever the section)."""

    members: int
    chars: int
    dropped: Repair
    missing: frozenset[str] = MISSING


def plain_texts(members: dict[str, Any], room: Room) -> dict[str, Any] | None:
    """All members at once, or None where one of them needs a look of its own.

    For values without `&`, backslash or opening bracket. A few passes in C instead of one in Python halve the cost.
    """
    if not members:
        return {}
    try:
        kept = {key: value.strip() for key, value in members.items()}
    except AttributeError:  # something else than text
        return None
    keys = "".join(kept)
    if (
        len(kept) <= room.members
        and room.missing.isdisjoint(kept.values())
        and max(map(len, kept.values())) <= room.chars
        and "" not in kept
        and (len(keys) <= KEY_CHARS or max(map(len, kept)) <= KEY_CHARS)
        and keys.isprintable()
    ):
        return kept
    return None


def texts(members: Iterable[tuple[str, Any]], room: Room, repairs: Repairs) -> dict[str, str]:
    """As `texts_and_lists`, but a list becomes what a reader of the mail would expect: "a, b"."""
    kept = texts_and_lists(members, room, repairs)
    if list not in map(type, kept.values()):
        return cast("dict[str, str]", kept)  # just seen: no list among them
    repairs["list_joined"] = None
    joined: dict[str, str] = {}
    for key, value in kept.items():
        text = value if isinstance(value, str) else ", ".join(value)
        if text in room.missing:  # a false alone in its list
            repairs["missing_value"] = None
        elif len(text) > room.chars:
            repairs[room.dropped] = None
        else:
            joined[key] = text
    return joined


def texts_and_lists(members: Iterable[tuple[str, Any]], room: Room, repairs: Repairs) -> dict[str, str | list[str]]:
    """The members that hold something."""
    kept: dict[str, str | list[str]] = {}
    for key, value in members:
        if len(kept) == room.members:
            repairs[room.dropped] = None
            break
        if not (0 < len(key) <= KEY_CHARS and key.isprintable()):
            repairs[room.dropped] = None
            continue
        if type(value) is list:
            if items := _items((_cleaned(item, room, repairs) for item in value), room, repairs):
                kept[key] = items
            continue
        text = _cleaned(value, room, repairs)
        if text is None:
            pass  # noted where it was found out
        elif text in room.missing:
            repairs["missing_value"] = None
        elif len(text) > room.chars:
            repairs[room.dropped] = None
        elif text[0] not in "[{":
            kept[key] = text
        elif pasted := _unpasted(text, room, repairs):
            kept[key] = pasted
    return kept


def _cleaned(value: Any, room: Room, repairs: Repairs) -> str | None:
    """A scalar as clean text; None for what has no text, already noted."""
    match value:
        case str():
            text = value
        case bool():
            return text_of(value)
        case int():
            return str(value)
        case float():
            raise Inexact
        case None:
            return ""
        case _:
            repairs[room.dropped] = None
            return None
    if len(text) > _LONGEST_ESCAPE * room.chars:
        repairs[room.dropped] = None
        return None
    if "&" in text:
        text = _ENTITY.sub(_unescaped, text)
        if text != value:
            repairs["html_entities"] = None
    if not text.isprintable():
        printable = _CONTROL.sub("", text)
        if printable != text:
            repairs["control_removed"] = None
        text = printable
    if "{{" in text or "{%" in text:
        repairs["unrendered_tag"] = None
        return None
    return text.strip()


def _unescaped(entity: re.Match[str]) -> str:
    """Not html.unescape: that finds `&not` in `&notable;` too, and takes twice as long for each entity."""
    name = entity[1]
    if name[0] != "#":
        return html5.get(name, entity[0])
    code = int(name[2:-1], 16) if name[1] in "xX" else int(name[1:-1])
    return chr(code) if code < 0xD800 or 0xDFFF < code <= sys.maxunicode else ""


def _items(found: Iterable[str | None], room: Room, repairs: Repairs) -> list[str]:
    """The items that hold something; None is an item that was noted where it was found out."""
    items: list[str] = []
    for text in found:
        if len(items) == LIST_ITEMS:
            repairs[room.dropped] = None
            break
        if text is None:
            continue
        if text in MISSING:
            repairs["missing_value"] = None
        elif len(text) > room.chars:
            repairs[room.dropped] = None
        else:
            items.append(text)
    if not items:
        repairs["missing_value"] = None
    return items


def _unpasted(text: str, room: Room, repairs: Repairs) -> str | list[str] | None:
    """Text that opens with a bracket: Klaviyo pastes a list or an object as Python prints it."""
    items = python_list(text)
    if items is not None:
        repairs["python_literal"] = None
        return _items(map(str.strip, items), room, repairs)  # the text was cleaned; entities are unescaped once
    if text.startswith(("{'", '{"')) and text.endswith("}"):
        repairs[room.dropped] = None
        return None
    return text
