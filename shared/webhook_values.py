"""Which texts of a webhook are none. The gateway reads webhooks by it, and a preview the fields it is given."""

from typing import Final

MISSING: Final = frozenset({"", "None", "null", "[]", "{}"})
"""What Klaviyo pastes for a property that is not there, or that holds nothing."""

MISSING_FIELDS: Final = MISSING | {"False", "false"}
"""And of fields. To Liquid every text is true, so `{% if vip %}` would greet everybody as one; Klaviyo's own `default`
takes False for nothing, too. An attribute may well be false, and is compared with its options."""


def text_of(truth: bool) -> str:
    """As JSON writes it: attributes name it so."""
    return "true" if truth else "false"
