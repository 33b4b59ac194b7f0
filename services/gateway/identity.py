"""The three ids of a webhook: which text they are taken from, what they must look like, what is wrong with them.

A pasted value may hold anything, also `x"}, "template_id": "evil`. Hence two rules:
1. The ids that open the body (in any order, before any other member) stand, whatever follows. So it is on the page,
   and no person's text comes before them.
2. An id that stands elsewhere is taken only if its name stands nowhere else in the body; else `ambiguous_identity`.
Refusing every repetition would let a first name cost a person's send; taking the last one (as orjson does) would
let it choose the template.
"""

import re
from typing import Any, Literal

from services.gateway.repair import Members, Repairs
from shared.webhook_values import MISSING

UnusableCode = Literal[
    "body_too_large",
    "not_json",
    "not_an_object",
    "missing_template_id",
    "missing_user_id",
    "missing_tracking_id",
    "invalid_template_id",
    "invalid_user_id",
    "invalid_tracking_id",
    "unrendered_tag",
    "ambiguous_identity",
]


class Unusable(Exception):
    """A webhook that no retry can cure. The message is for the customer and never repeats what was pasted."""

    def __init__(self, code: UnusableCode, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


_TEMPLATE_ID = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}+"  # as shared/schemas/template_file.py lets them be made
_USER_ID = "[A-Za-z0-9]{6}|[0-7][0-9A-HJKMNP-TV-Z]{25}"  # old profiles have 6 characters, newer ones a ULID
_TRACKING_ID = r"[!#-\[\]-z|~]{1,256}+"  # printable ASCII that needs no escaping and opens no tag

PLAIN_HEAD = re.compile(
    rf'\s*+\{{\s*+"template_id"\s*+:\s*+"(?!None"|null")({_TEMPLATE_ID})"'
    rf'\s*+,\s*+"user_id"\s*+:\s*+"({_USER_ID})"'
    rf'\s*+,\s*+"tracking_id"\s*+:\s*+"(?!None[".]|null[".]|\.)({_TRACKING_ID})"\s*+[,}}]'.encode()
)
"""The opening of a body as it is on the page, with ids that need no second look: one match in place of all below."""

_TEMPLATE_ID_SHAPE = re.compile(_TEMPLATE_ID)
_USER_ID_SHAPE = re.compile(_USER_ID)
_TRACKING_ID_SHAPE = re.compile(_TRACKING_ID)
_NO_PERSON = re.compile(r"(?:\{\{[^{}]*+\}\}|None|null|)\s*+\.(.++)")
_ESCAPED_NAME = re.compile(r"\\u00(?:5[fF]|[67])")  # a name in disguise: nobody else escapes letters or underscores


def trusted_id(name: str, head: dict[str, str], members: Members, text: str) -> Any:
    """The value of this id that no pasted text can have put there, None where there is none.

    Raises Unusable where the author's value and a pasted one cannot be told apart.
    """
    if name in head:
        return head[name]
    value = next((value for key, value in members if key == name), None)
    if value is not None and (text.count(f'"{name}"') > 1 or _ESCAPED_NAME.search(text)):
        raise Unusable(
            "ambiguous_identity",
            f"{name} stands in the body more than once. Put template_id, user_id and tracking_id before all else.",
            name,
        )
    return value


def template_id(value: Any) -> str:
    if _is_missing(value):
        raise Unusable("missing_template_id", "template_id is missing or empty.", "template_id")
    if _has_tag(value):
        raise Unusable("unrendered_tag", "template_id still holds a template tag; put the id itself.", "template_id")
    if not isinstance(value, str) or not _TEMPLATE_ID_SHAPE.fullmatch(value.strip()):
        raise Unusable(
            "invalid_template_id",
            "template_id must be the id of a template as the console shows it (in place of <template_id>): "
            "letters, digits, '_' and '-', at most 64.",
            "template_id",
        )
    return value.strip()


def user_id(value: Any) -> str:
    if _is_missing(value):
        raise Unusable(
            "missing_user_id",
            "user_id is missing or empty: it must be {{ person.KlaviyoID }}, not {{ person.id }}. "
            "Date-triggered flows may not fill it.",
            "user_id",
        )
    if _has_tag(value):
        raise Unusable(
            "unrendered_tag",
            "user_id arrived as a tag that Klaviyo did not fill; write it exactly {{ person.KlaviyoID }}.",
            "user_id",
        )
    if not isinstance(value, str) or not _USER_ID_SHAPE.fullmatch(value.strip()):
        raise Unusable(
            "invalid_user_id",
            "user_id is not a Klaviyo profile id (6 letters and digits, or a ULID of 26): "
            "use {{ person.KlaviyoID }}, not {{ person.id }}.",
            "user_id",
        )
    return value.strip()


def tracking_id(value: Any, user_id: str, repairs: Repairs) -> str:
    if _is_missing(value):
        raise Unusable(
            "missing_tracking_id",
            "tracking_id is missing or empty: {{ person.KlaviyoID }}.<flow_id>.<treatment_action_id>.",
            "tracking_id",
        )
    text = value.strip() if isinstance(value, str) else ""
    if torn := _NO_PERSON.fullmatch(text):
        repairs["tracking_id_rebuilt"] = None
        text = f"{user_id}.{torn[1]}"
    if _has_tag(text):
        raise Unusable("unrendered_tag", "tracking_id holds a tag that Klaviyo did not fill.", "tracking_id")
    if not _TRACKING_ID_SHAPE.fullmatch(text):
        raise Unusable(
            "invalid_tracking_id",
            "tracking_id must be at most 256 printable ASCII characters without blanks, quotes, backslashes or "
            "braces: {{ person.KlaviyoID }}.<flow_id>.<treatment_action_id>.",
            "tracking_id",
        )
    return text


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip() in MISSING)


def _has_tag(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)
