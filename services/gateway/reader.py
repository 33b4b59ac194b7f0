"""Reads the body of one generate webhook: strict JSON first, then what can be told of a body that is almost JSON.

A defect in attrs or fields never costs the send: the value counts as missing, the repair is counted, the template's
default applies. Only an unusable id, a body that is no object, or a body too large is refused (`Unusable`; errors.py
has the status of each code), because no retry could cure them. Nothing here logs: `repairs` says what was mended.

| in the body                                      | answer                                                |
|--------------------------------------------------|-------------------------------------------------------|
| more than 256 KiB                                | Unusable body_too_large                               |
| empty; or not JSON, and no id can be made out    | Unusable not_json                                     |
| JSON, but not an object                          | Unusable not_an_object                                |
| an id missing, "", None, null                    | Unusable missing_<name>                               |
| `{{ … }}` or `{% … %}` left in an id             | Unusable unrendered_tag, but see tracking_id          |
| an id of a wrong type, shape or length, with NUL | Unusable invalid_<name>; a number is text             |
| an id again, after all three opened the body     | the first stands (identity.py has the rule)           |
| an id again, the first one after other members   | Unusable ambiguous_identity                           |
| tracking_id without its person part              | rebuilt from user_id, which is the same by contract   |
| tracking_id missing altogether                   | Unusable: its flow and action cannot be guessed       |
| byte order mark, latin-1 bytes                   | mended                                                |
| quotes, backslashes, newlines inside values      | mended: the text as it was pasted                     |
| trailing comma, bare words, NaN, 1e400           | mended; NaN and infinities are missing                |
| `\\u0000`, lone surrogate, control characters     | removed from values (tab and newlines stay)           |
| "", "None", "null", null, an unrendered tag      | missing                                               |
| "[]", "{}": an empty list or object as pasted    | missing                                               |
| HTML entities                                    | unescaped once, if they end in `;`: `&copy=1` is none |
| true, false, numbers (2^64, 19.90)               | text, digits as written; true is "true", never 1      |
| false, "false", "False" in fields, or `[false]`  | missing: `{% if %}` takes every text for true         |
| a list of scalars, also as Python prints it      | attrs: list of strings; fields: joined with ", "      |
| objects, lists in lists, however deep            | dropped unread: no depth is too deep to answer        |
| attrs or fields that are no object               | dropped                                               |
| a key given two values                           | dropped: neither can be believed                      |
| over 64 attrs, 128 fields, 64 items of a list    | the first ones stay                                   |
| a key over 128 characters, empty, unprintable    | dropped                                               |
| a value over 1,000 (attrs), 16,384 (fields)      | dropped: half a value may say the opposite            |
| unknown members                                  | ignored, counted                                      |
| copy_id, preview, write                          | `asked`; preview.py says who may ask                  |

Known limit: pasted text that imitates members can give the same person attrs and fields that the template does not
send, since nothing in the body tells them apart. `|escapejs` in the template closes that.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from re import Match
from typing import Any, Final, NamedTuple

import orjson

from services.gateway.identity import PLAIN_HEAD, Unusable, UnusableCode, template_id, tracking_id, trusted_id, user_id
from services.gateway.repair import IDS, PREVIEWING, SECTIONS, Members, Repair, Repairs, decoded, head, scan
from services.gateway.values import Inexact, Room, plain_texts, texts, texts_and_lists
from shared.webhook_values import MISSING_FIELDS

__all__ = ["DEFAULT_LIMITS", "Asked", "Limits", "Repair", "Unusable", "UnusableCode", "Webhook", "read_webhook"]

_KNOWN: Final = frozenset((*IDS, *SECTIONS))
_BEFORE_TEXTS: Final = frozenset((*IDS, *PREVIEWING))
_ATTRS_ROOM: Final = Room(members=64, chars=1_000, dropped="attr_dropped")
_FIELDS_ROOM: Final = Room(members=128, chars=16_384, dropped="field_dropped", missing=MISSING_FIELDS)
_NOTHING: Final[dict[str, Any]] = {}
_AMPERSAND, _BACKSLASH, _BRACKET = b"&\\["  # as numbers: found five times as fast as one-byte strings
_EXACT = json.JSONDecoder(object_pairs_hook=Members, parse_float=str, parse_int=str)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one body may carry. A list counts each of its items against `chars`."""

    body_bytes: int = 262_144
    attrs: Room = _ATTRS_ROOM
    fields: Room = _FIELDS_ROOM


DEFAULT_LIMITS: Final = Limits()


class Asked(NamedTuple):
    """What stands under the names of a preview, as it came. `trusted`: each once, and before all but the ids, where no
    pasted text can have put it."""

    members: dict[str, Any]
    trusted: bool


class Webhook(NamedTuple):
    """One usable request. No string holds NUL or half a surrogate pair; ids are bounded printable ASCII.

    A tuple, because a frozen dataclass takes 1 µs more to make, a tenth of the whole reading.
    """

    template_id: str
    user_id: str
    tracking_id: str
    attrs: dict[str, str | list[str]]
    fields: dict[str, str]
    repairs: tuple[Repair, ...]
    asked: Asked | None = None


def read_webhook(body: bytes, limits: Limits = DEFAULT_LIMITS) -> Webhook:
    """What the body asks for. Raises Unusable, and nothing else, whatever the bytes."""
    if len(body) > limits.body_bytes:
        raise Unusable("body_too_large", f"The body is larger than {limits.body_bytes} bytes.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_broken(body, limits)
    plain_head = PLAIN_HEAD.match(body)
    if plain_head is not None:
        try:
            return _read_plain(plain_head, document, body, limits)
        except Inexact:
            pass
    return _read_exact(body.decode(), {}, limits)


def _read_plain(plain_head: Match[bytes], document: dict[str, Any], body: bytes, limits: Limits) -> Webhook:
    """The common case, from orjson's dictionary. Raises Inexact where a dictionary cannot tell the whole story."""
    attrs, fields = document.get("attrs", _NOTHING), document.get("fields", _NOTHING)
    if type(attrs) is not dict or type(fields) is not dict:
        raise Inexact
    # Each key costs a colon, and one that was given twice is in the dictionary once. So equal counts prove that
    # none was; else the blanks go, so that each key costs a `":`. More than that may also be text: read again.
    keys = len(document) + len(attrs) + len(fields)
    if body.count(b":") != keys and body.translate(None, b" \t\r\n").count(b'":') != keys:
        raise Inexact
    repairs: Repairs = {}
    sections = ("attrs" in document) + ("fields" in document)
    if len(document) != len(IDS) + sections:
        if not document.keys().isdisjoint(PREVIEWING):
            raise Inexact
        repairs["unknown_key"] = None
    plain = body.count(b"{") == 1 + sections and not (_AMPERSAND in body or _BACKSLASH in body or _BRACKET in body)
    kept_attrs = plain_texts(attrs, limits.attrs) if plain else None
    if kept_attrs is None:
        kept_attrs = texts_and_lists(attrs.items(), limits.attrs, repairs)
    kept_fields = plain_texts(fields, limits.fields) if plain else None
    if kept_fields is None:
        kept_fields = texts(fields.items(), limits.fields, repairs)
    template, user, tracking = plain_head.groups()
    return Webhook(template.decode(), user.decode(), tracking.decode(), kept_attrs, kept_fields, tuple(repairs))


def _read_exact(text: str, repairs: Repairs, limits: Limits) -> Webhook:
    """Valid JSON, read with duplicates and digits as written: about ten times slower than orjson."""
    try:
        document = _EXACT.decode(text)
    except RecursionError:
        return _read_scanned(text, repairs, limits)
    if not isinstance(document, Members):
        raise Unusable("not_an_object", "The body must be a JSON object.")
    return _webhook(text, head(text)[0], document, repairs, limits)


def _read_broken(body: bytes, limits: Limits) -> Webhook:
    """Not JSON as received: perhaps it is once its bytes are mended, else it is scanned."""
    repairs: Repairs = {}
    text = decoded(body, repairs).strip()
    if repairs:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            return _read_exact(text, repairs, limits)
    return _read_scanned(text, repairs, limits)


def _read_scanned(text: str, repairs: Repairs, limits: Limits) -> Webhook:
    if not text.startswith("{"):
        raise Unusable("not_json", "The body is not a JSON object." if text else "The body is empty.")
    ids, at = head(text)
    members = Members([*ids.items(), *scan(text, at, repairs)])
    if not any(key in IDS for key, _ in members):
        raise Unusable("not_json", "The body is not JSON, and none of its ids can be made out.")
    return _webhook(text, ids, members, repairs, limits)


def _webhook(text: str, ids: dict[str, str], members: Members, repairs: Repairs, limits: Limits) -> Webhook:
    template, user, tracking = (trusted_id(name, ids, members, text) for name in IDS)
    known = _once(members, repairs)
    asked = _asked(members)
    if not known.keys() - (asked.members.keys() if asked and asked.trusted else ()) <= _KNOWN:
        repairs["unknown_key"] = None
    user = user_id(user)
    return Webhook(
        template_id(template),
        user,
        tracking_id(tracking, user, repairs),
        texts_and_lists(_section(known.get("attrs"), limits.attrs, repairs), limits.attrs, repairs),
        texts(_section(known.get("fields"), limits.fields, repairs), limits.fields, repairs),
        tuple(repairs),
        asked,
    )


def _asked(members: Members) -> Asked | None:
    """What is asked about a preview, if anything is."""
    found = [(key, value) for key, value in members if key in PREVIEWING]
    if not found:
        return None
    first_other = next((at for at, (key, _) in enumerate(members) if key not in _BEFORE_TEXTS), len(members))
    opening = [key for key, _ in members[:first_other] if key in PREVIEWING]
    return Asked(dict(reversed(found)), len(opening) == len(found) == len(set(opening)))


def _once(members: Iterable[tuple[str, Any]], repairs: Repairs) -> dict[str, Any]:
    """The members by key, without those that were given two values."""
    values: dict[str, Any] = {}
    doubtful = set()
    for key, value in members:
        if key not in values:
            values[key] = value
        elif not (isinstance(value, str) and value == values[key]):
            doubtful.add(key)
    if doubtful:
        repairs["duplicate_key"] = None
    return {key: value for key, value in values.items() if key not in doubtful}


def _section(members: Any, room: Room, repairs: Repairs) -> Iterable[tuple[str, Any]]:
    if isinstance(members, Members):
        return _once(members, repairs).items()
    if members is not None:
        repairs[room.dropped] = None
    return ()
