"""Every answer that is not a 202: one body, stable codes, and which of them a repetition may cure.

Klaviyo repeats a webhook after 429, 500, 502 and 503 only, up to 17 times in 24 hours; any other 4xx or 5xx skips the
person for ever (its page lists 503 twice, and may mean 504 once: we do not count on it). So whatever may heal is a 503
with Retry-After, even where HTTP has a finer word (408, 504); a 4xx is what no repetition can cure.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import orjson

from services.gateway.identity import UnusableCode

ErrorType = Literal["invalid_request", "authentication_failed", "permission_denied", "not_found", "unavailable"]

Code = (
    Literal[
        "missing_api_key",
        "malformed_api_key",
        "unknown_api_key",
        "revoked_api_key",
        "expired_api_key",
        "ambiguous_api_key",
        "wrong_org",
        "missing_scope",
        "invalid_copy_id",
        "invalid_preview",
        "no_such_route",
        "method_not_allowed",
        "compressed_body",
        "broken_request",
        "slow_body",
        "overloaded",
        "broker_unavailable",
        "keys_unavailable",
        "unexpected",
    ]
    | UnusableCode
)
"""Part of the contract: callers may branch on a code, messages are free to change."""

BODY_LIMIT_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code stands for; `retry_after_s` only where a repetition may cure it."""

    status: int
    type: ErrorType
    message: str
    retry_after_s: int | None = None


MEANINGS: Final[dict[str, Meaning]] = {
    "missing_api_key": Meaning(401, "authentication_failed", "Send the API key in the header X-Api-Key."),
    "malformed_api_key": Meaning(
        401, "authentication_failed", "This is no API key: it is cut short or mistyped. Keys begin with jai_live_."
    ),
    "unknown_api_key": Meaning(401, "authentication_failed", "There is no such API key."),
    "revoked_api_key": Meaning(401, "authentication_failed", "This API key was revoked."),
    "expired_api_key": Meaning(401, "authentication_failed", "This API key has expired."),
    "ambiguous_api_key": Meaning(
        401, "authentication_failed", "The API key was sent more than once; send one header X-Api-Key."
    ),
    # The same whether the other org exists or not: a slug must not be guessable with a key of one's own.
    "wrong_org": Meaning(403, "permission_denied", "This API key does not belong to the org in the URL."),
    "missing_scope": Meaning(403, "permission_denied", "This API key lacks the scope 'generate'."),
    "invalid_copy_id": Meaning(
        422, "invalid_request", "copy_id must be the uuid of a variant, as the exports and 'justai' show it."
    ),
    "invalid_preview": Meaning(
        422, "invalid_request", "preview and write must be true or false, and stand before attrs and fields."
    ),
    "no_such_route": Meaning(404, "not_found", "There is nothing at this address; webhooks go to /api/generate/<org>."),
    "method_not_allowed": Meaning(405, "invalid_request", "This address does not take this method."),
    "body_too_large": Meaning(413, "invalid_request", f"The body is larger than {BODY_LIMIT_BYTES} bytes."),
    "compressed_body": Meaning(415, "invalid_request", "Send the body as it is, without Content-Encoding."),
    "broken_request": Meaning(400, "invalid_request", "This is not HTTP as it should be."),
    "slow_body": Meaning(503, "unavailable", "The body did not arrive in time.", retry_after_s=1),
    "overloaded": Meaning(503, "unavailable", "Too many webhooks are waiting; send this one again.", retry_after_s=2),
    "broker_unavailable": Meaning(
        503, "unavailable", "The webhook could not be stored and was not accepted; send it again.", retry_after_s=5
    ),
    "keys_unavailable": Meaning(503, "unavailable", "The API key cannot be checked right now.", retry_after_s=5),
    "unexpected": Meaning(500, "unavailable", "Something unforeseen happened; send it again.", retry_after_s=5),
} | {
    code: Meaning(422, "invalid_request", "The body cannot be used; the message says why.")
    for code in get_args(UnusableCode)
    if code != "body_too_large"
}
"""Each code; for codes of the reader the text comes with the error, which knows the field."""


class Refused(Exception):
    """This request gets no 202. `message` and `param` (the body's field) where more is known than the code says."""

    def __init__(self, code: Code, message: str | None = None, param: str | None = None) -> None:
        self.meaning = MEANINGS[code]
        self.code, self.message, self.param = code, message or self.meaning.message, param
        super().__init__(self.message)

    def headers(self) -> dict[str, str]:
        """What goes with the body."""
        headers = {"Content-Type": "application/json"}
        if self.meaning.retry_after_s is not None:
            headers["Retry-After"] = str(self.meaning.retry_after_s)
        if self.meaning.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    def body(self) -> bytes:
        """`{"error": {type, code, message, param}}`."""
        return orjson.dumps(
            {
                "error": {
                    "type": self.meaning.type,
                    "code": self.code,
                    "message": self.message,
                    "param": self.param,
                }
            }
        )
