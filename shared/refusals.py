"""Why the gateway refuses a webhook for good, in words for whoever looks after the flow. Pure.

The gateway's own messages are for callers; Klaviyo shows them to nobody. A test holds this list and the gateway's
together: a code is in both or in none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was wrong, after "because"; what to do in Klaviyo. `by_key`: the API key is what is wrong."""

    means: str
    do: str
    by_key: bool = False


_KEY: Final = "In the Webhook step, put a key of this org into X-Api-Key. Keys are shown once: create or rotate one."
_BODY: Final = "Paste the JSON body from the template's Integration Settings into the Webhook step."
_CALLER: Final = "Webhooks of a flow never do that: look which program calls with the org's address."

REFUSALS: Final[Mapping[str, Refusal]] = {
    "missing_api_key": Refusal("they bring no X-Api-Key", _KEY, True),
    "malformed_api_key": Refusal("their X-Api-Key is no JustAI key: cut short, mistyped, or another one's", _KEY, True),
    "unknown_api_key": Refusal("their X-Api-Key is a key that does not exist", _KEY, True),
    "revoked_api_key": Refusal("their X-Api-Key was revoked", _KEY, True),
    "expired_api_key": Refusal("their X-Api-Key has expired", _KEY, True),
    "ambiguous_api_key": Refusal(
        "they bring more than one API key", "Leave one header X-Api-Key, and no Authorization.", True
    ),
    "wrong_org": Refusal("their X-Api-Key belongs to another org", _KEY, True),
    "missing_scope": Refusal("their X-Api-Key may not generate", _KEY, True),
    "body_too_large": Refusal("their body is larger than 256 KB", "Send less in attrs and fields."),
    "not_json": Refusal("their body is no JSON", _BODY),
    "not_an_object": Refusal("their body is no JSON object", _BODY),
    "missing_template_id": Refusal("template_id is missing", _BODY),
    "missing_user_id": Refusal(
        "user_id is empty",
        "Use {{ person.KlaviyoID }} in user_id, not {{ person.id }}; flows triggered by a date may not fill it.",
    ),
    "missing_tracking_id": Refusal("tracking_id is missing", _BODY),
    "invalid_template_id": Refusal("template_id is none that a template can have", _BODY),
    "invalid_user_id": Refusal(
        "user_id is no Klaviyo profile id", "Use {{ person.KlaviyoID }} in user_id, not {{ person.id }}."
    ),
    "invalid_tracking_id": Refusal("tracking_id holds what no id holds", _BODY),
    "unrendered_tag": Refusal("an id arrived as a tag that Klaviyo did not fill", _BODY),
    "ambiguous_identity": Refusal("an id stands in the body more than once", _BODY),
    "compressed_body": Refusal("their body is compressed", _CALLER),
    "broken_request": Refusal("they are no HTTP as it should be", _CALLER),
    "invalid_copy_id": Refusal("copy_id is no variant's", _CALLER),
    "invalid_preview": Refusal("preview or write is neither true nor false", _CALLER),
}


def of(code: str) -> Refusal:
    """What a code means; one that only a newer release knows is named as it is."""
    return REFUSALS.get(code) or Refusal(f"of {code}", _BODY)
