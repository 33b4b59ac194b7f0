"""What a Klaviyo answer means, in the house's failure words.

Failure
├── Permanent              400, 404, 405, 409, 410, 413, 415, 422: this request can never succeed
│   ├── KeyRefused         401, 403 with a JSON:API body: no request with this key can
│   └── Unsendable         nothing was sent, nor ever can be
├── Transient              408, 425, a redirect; 400, 403, 404, 405, 409, 410, 422 without one: what stands before
│   │                      Klaviyo has answered (a challenge, a page of maintenance), who has not seen the request
│   ├── Unreachable        nothing was sent
│   └── MaybeApplied       5xx, no answer, a broken answer: the write may or may not have happened
│       └── NoAnswer       none came, or one of what stands before Klaviyo: it may happen yet
└── Throttled              429
"""

import re
from collections.abc import Mapping

import orjson

from shared.errors import Failure, Permanent, Throttled, Transient
from shared.klaviyo.limits import retry_after_s


class KeyRefused(Permanent):
    """The private key is wrong, revoked, or lacks a scope."""


class Unsendable(Permanent):
    """No request can be made of this. It never left, so it spent no quota and says nothing about Klaviyo."""


class Unreachable(Transient):
    """No connection; certainly nothing was applied."""


class MaybeApplied(Transient):
    """The request left, and no answer says what became of it."""


class NoAnswer(MaybeApplied):
    """Nor is it over: Klaviyo may be at it still, and apply it later."""


_KEY_CODES = {"not_authenticated", "authentication_failed", "invalid_api_key", "missing_api_key"}
_OF_THE_REQUEST = frozenset({413, 415})
"""Whoever says so has looked at the request, which stays as it is. Any other answer that Klaviyo gives has a JSON:API
body: a page of its edge, or of a proxy before it, taken at its word would end writes, and as a 404 have us forget what
profiles hold."""

_GIVEN_UP = frozenset({502, 504, 520, 524})
"""What a gateway says when it waits no longer; whom it waited for may go on."""

_REASONS = {409: "conflict", 413: "body_too_large", 422: "unprocessable"}
_CODE = re.compile(r"[a-z0-9_.-]{1,64}")


def failure_of(status: int, headers: Mapping[str, str], body: bytes, *, resource: str = "resource") -> Failure | None:
    """The failure that an answer about a `resource` stands for; None for 2xx.

    Quotes status and code, never titles or details: those may repeat a person's values.
    """
    if 200 <= status < 300:
        return None
    if status == 429:
        wait_s = retry_after_s(headers)
        return Throttled(f"Klaviyo asks to wait {wait_s:g} s", wait_s=wait_s, reason="klaviyo_throttled")
    if status >= 500:
        unanswered = NoAnswer if status in _GIVEN_UP else MaybeApplied
        return unanswered(f"Klaviyo answered {status}", reason=f"klaviyo_{status}")
    error = _first_error(body)
    code = _code(error)
    said = f"Klaviyo answered {status}" + (f" ({code})" if code else "")
    if status == 401 or code in _KEY_CODES:
        return KeyRefused(f"{said}: the key is not accepted", reason="key_refused")
    if status == 403:
        if error is None:
            return Transient(f"{said} without a JSON:API body: its edge blocked us", reason="klaviyo_edge_blocked")
        return KeyRefused(f"{said}: the key lacks a scope", reason="scope_missing")
    if status in (408, 425) or status < 400:
        return Transient(said, reason=f"klaviyo_{status}")
    if error is None and status not in _OF_THE_REQUEST:
        return Transient(f"{said} without a JSON:API body: its edge answered", reason="klaviyo_edge_answered")
    if status == 404:
        return Permanent(said, reason=f"{resource}_not_found")
    return Permanent(said, reason=_REASONS.get(status) or (code if status == 400 and code else f"klaviyo_{status}"))


def _first_error(body: bytes) -> dict[str, object] | None:
    """The first JSON:API error object; None when the body is anything else, such as an HTML page."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    errors = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    return first if isinstance(first, dict) else None


def _code(error: dict[str, object] | None) -> str | None:
    code = error.get("code") if error else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None
