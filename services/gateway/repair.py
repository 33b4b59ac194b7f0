"""Reads a body that is almost JSON: a customer's template into which Klaviyo pasted a person's text unescaped.

Nobody can tell for certain where an unescaped value ends, so the guess is as narrow as can be: a quote ends a
value only where the template's own text could follow it (the next `"key":`, or the end of the object). A value
that was escaped well is always found whole; only pasted text that imitates a next member can end its own value
early, and then it can only name attrs and fields. What it can never name is an id: see `head`.

Every pattern here is possessive or bounded and every search either advances or ends the reading, so the time is
linear in the body: 256 KiB chosen by an enemy cost less than 50 ms (tests/unit/gateway/test_repair.py).
"""

import json
import re
from itertools import islice
from typing import Any, Final, Literal

Repair = Literal[
    "byte_order_mark",  # a mark before the body, taken off
    "latin1_bytes",  # bytes that are not UTF-8, read as Windows-1252
    "unescaped_quote",  # a quote inside a value
    "raw_newline",  # a newline or another control character inside a value, kept or removed as below
    "lone_backslash",  # a backslash that escapes nothing: the whole value is taken as written
    "bare_value",  # a value without quotes that JSON does not allow, also nothing at all (`"age": ,`)
    "python_literal",  # a list as Python prints it
    "trailing_comma",
    "unreadable_rest",  # reading ended before the body did; what came after is lost
    "html_entities",  # a value was escaped for HTML
    "control_removed",  # NUL, another control character or half a surrogate pair
    "missing_value",  # "", "None", "null", "[]", "{}" in attrs or fields, and "false" in fields
    "unrendered_tag",  # `{{ … }}` or `{% … %}` in attrs or fields: missing, too
    "attr_dropped",  # too long, too many, nested, or under a bad key
    "field_dropped",
    "list_joined",  # a list in fields became "a, b"
    "unknown_key",  # a member of the body that the contract does not know
    "duplicate_key",  # a key given twice: the head's id stands, other values fall unless equal
    "tracking_id_rebuilt",  # its person part was not rendered; the user_id took its place
]
"""What was mended or dropped in one body. Closed, because each name is a metric label."""

Repairs = dict[Repair, None]
"""The repairs of one body, each once, in the order they were made."""

IDS: Final = ("template_id", "user_id", "tracking_id")
SECTIONS: Final = ("attrs", "fields")
PREVIEWING: Final = ("copy_id", "preview", "write")
MAX_MEMBERS: Final = 256  # 64 attrs, 128 fields and room for strangers; each costs a few microseconds
MAX_TOKENS: Final = 200  # in one pasted list: 64 items are kept of any


class Members(list[tuple[str, Any]]):
    """One JSON object with its members in order, duplicates included. A JSON array is a plain list."""


_NEXT_KEY = r'"[^"\\\r\n]{1,128}+"\s*+:'
_AFTER_ROOT = r"\s*+\Z"
_AFTER_SECTION = rf"\s*+(?:,\s*+(?:{_NEXT_KEY}|\}}\s*+\Z)|\}}\s*+\Z|\Z)"


def _closing(after: str) -> str:
    return rf"\s*+(?:,\s*+(?:{_NEXT_KEY}|\}}{after})|\}}{after})"


_MEMBER = re.compile(r'"([^"\\\r\n]{1,128}+)"\s*+:\s*+')
_COMMAS = re.compile(r"\s*+(?:,\s*+)*+")
_TEXT_END = {after: re.compile(rf'"(?={_closing(after)})') for after in (_AFTER_ROOT, _AFTER_SECTION)}
_BARE_END = {
    after: re.compile(rf"(?=[,}}])(?:,\s*+(?={_NEXT_KEY}|\}}{after})|\}}(?={after}))")
    for after in (_AFTER_ROOT, _AFTER_SECTION)
}
_TOKEN = re.compile(r""""(?:[^"\\]++|\\.)*+"?|'(?:[^'\\]++|\\.)*+'?|[\[\]{}]""", re.DOTALL)
_CLOSER_OF = {"[": "]", "{": "}"}
_CONTROL = re.compile(r"[\x00-\x1f]")
_JSON_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null")

_HEAD_MEMBER = re.compile(
    rf'\s*+(?:,\s*+)?"({"|".join(IDS)})"\s*+:\s*+'
    r'(?:"([^"\\]*+)"|(?!(?:true|false|null|None)\b)([A-Za-z0-9][A-Za-z0-9._:-]*+))\s*+(?=[,}])'
)
_PYTHON_ITEM = r"""'(?:[^'\\]++|\\.)*+'|"(?:[^"\\]++|\\.)*+"|-?[0-9][0-9.eE+-]*+|True|False|None"""
_PYTHON_ITEMS = re.compile(_PYTHON_ITEM, re.DOTALL)
_PYTHON_LIST = re.compile(rf"\[\s*+(?:(?:{_PYTHON_ITEM})(?:\s*+,\s*+(?:{_PYTHON_ITEM}))*+)?\s*+\]", re.DOTALL)
_PYTHON_ESCAPE = re.compile(r"""\\([\\'"])""")

_LENIENT = json.JSONDecoder(object_pairs_hook=Members, parse_float=str, parse_int=str, strict=False)

_NOT_UTF8 = re.compile("[\udc80-\udcff]++")  # what `surrogateescape` makes of such bytes


def decoded(body: bytes, repairs: Repairs) -> str:
    """The body as text, whatever its bytes; single bytes that are not UTF-8 are read as Windows-1252."""
    if body.startswith(b"\xef\xbb\xbf"):
        repairs["byte_order_mark"] = None
        body = body[3:]
    try:
        return body.decode()
    except UnicodeDecodeError:
        repairs["latin1_bytes"] = None
        return _NOT_UTF8.sub(_windows_1252, body.decode("utf-8", "surrogateescape"))


def _windows_1252(stray: re.Match[str]) -> str:
    return stray[0].encode("utf-8", "surrogateescape").decode("cp1252", "ignore")


def head(text: str) -> tuple[dict[str, str], int]:
    """The ids that the body opens with, and where the rest begins.

    These can be trusted whatever the rest says: the template's author wrote them, and no person's text stands
    before them. Reading stops at the first member that is no id, or an id that is given twice.
    """
    ids: dict[str, str] = {}
    at = len(text) - len(text.lstrip())
    if not text.startswith("{", at):
        return ids, at
    at += 1
    while len(ids) < len(IDS) and (member := _HEAD_MEMBER.match(text, at)) and member[1] not in ids:
        ids[member[1]] = member[2] if member[2] is not None else member[3]
        at = member.end()
    return ids, at


def scan(text: str, at: int, repairs: Repairs) -> Members:
    """The members of the object that lies open at `at`; what cannot be read to its end is left out."""
    root = members = Members()
    for _ in range(MAX_MEMBERS):
        before, at = at, _COMMAS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if text.startswith("}", at):
            if "," in text[before:at]:
                repairs["trailing_comma"] = None
            if members is root:
                if text[at + 1 :].strip():
                    repairs["unreadable_rest"] = None
                return root
            members, at = root, at + 1
            continue
        member = _MEMBER.match(text, at)
        if member is None:
            break
        key, at = member[1], member.end()
        if members is root and text.startswith("{", at):
            members = Members()
            root.append((key, members))
            at += 1
            continue
        read = _value(text, at, _AFTER_ROOT if members is root else _AFTER_SECTION, repairs)
        if read is None:
            break
        members.append((key, read[0]))
        at = read[1]
    repairs["unreadable_rest"] = None
    return root


def _value(text: str, at: int, after: str, repairs: Repairs) -> tuple[Any, int] | None:
    """The value that begins at `at` and where it ends, or None where no end can be told."""
    first = text[at : at + 1]
    if first == '"':
        end = _TEXT_END[after].search(text, at + 1)
        return (_unquoted(text[at + 1 : end.start()], repairs), end.end()) if end else None
    if first in ("{", "["):
        closed_at = _closed_at(text, at)
        return (_literal(text[at:closed_at], repairs), closed_at) if closed_at else None
    end = _BARE_END[after].search(text, at)
    return (_bare(text[at : end.start()].strip(), repairs), end.start()) if end else None


def _unquoted(raw: str, repairs: Repairs) -> str:
    """What stood between the quotes: decoded where it is well escaped, else the text exactly as it was pasted."""
    if _CONTROL.search(raw):
        repairs["raw_newline"] = None
    try:
        text: str = _LENIENT.decode(f'"{raw}"')
    except ValueError:
        repairs["unescaped_quote" if '"' in raw else "lone_backslash"] = None
        return raw
    return text


def _closed_at(text: str, at: int) -> int | None:
    """Where the bracket that opens at `at` is closed, or None."""
    closers: list[str] = []
    for token in islice(_TOKEN.finditer(text, at), MAX_TOKENS):
        if token[0] in _CLOSER_OF:
            closers.append(_CLOSER_OF[token[0]])
        elif token[0] in ("]", "}"):
            if closers.pop() != token[0]:
                return None
            if not closers:
                return token.end()
    return None


def _literal(raw: str, repairs: Repairs) -> Any:
    """A list of its items, or `Members` for any object: objects are dropped, so what is in them does not matter."""
    if raw.startswith("{"):
        return Members()
    try:
        return _LENIENT.decode(raw)
    except (ValueError, RecursionError):
        items = python_list(raw)
    if items is None:
        return Members()
    repairs["python_literal"] = None
    return items


def _bare(raw: str, repairs: Repairs) -> str | bool | None:
    """A value that was pasted without quotes. A number keeps its digits as they were written."""
    if not _JSON_SCALAR.fullmatch(raw):
        repairs["bare_value"] = None
    match raw:
        case "true" | "false":
            return raw == "true"
        case "null" | "NaN" | "Infinity" | "-Infinity" | "nan" | "inf" | "-inf":
            return None
    if len(raw) <= 64 and _JSON_SCALAR.fullmatch(raw) and float(raw) in (float("inf"), float("-inf")):
        return None  # 1e400 is no amount of anything
    return raw


def python_list(text: str) -> list[str] | None:
    """The items of a list of scalars as Python prints it, as text; None if the text is no such list.

    Of Python's escapes only those of quotes and backslashes are undone; others stay as printed.
    """
    if not _PYTHON_LIST.fullmatch(text):
        return None
    items = (item[0] for item in _PYTHON_ITEMS.finditer(text))
    return [_PYTHON_ESCAPE.sub(r"\1", item[1:-1]) if item[0] in "'\"" else item for item in items]
