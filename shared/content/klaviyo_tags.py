"""Tags of Klaviyo's in copy. It fills them in where they stand in an email, and never inside a profile property, where
copy stands: they are found, and those that read a person's property can be written as fields. Pure."""

import re
from collections.abc import Iterator
from typing import Final

# No part of either is read twice: of an author who opens tags and closes none, that would take minutes.
_TAG: Final = re.compile(
    r"\{%-?\s*(?P<tag>(?:unsubscribe|web_view|manage_preferences|catalog|coupon_code|web_feed|current_)\w*)"
    r"|\{\{-?\s*+(?P<value>(?:person|event|organization)\s*[.\[][^}]*"
    r"|[^{}|]*+(?:\|(?!\s*lookup\b)[^{}|]*+)*\|\s*lookup\b[^}]*)"
)
_PROPERTY: Final = re.compile(
    r"person\s*(?:\.\s*(?P<dot>[A-Za-z]\w*)|\|\s*lookup\s*:\s*(['\"])(?P<lookup>[A-Za-z]\w*)\2)"
    r"\s*(?P<filters>\|.*)?"
)
_DEFAULT: Final = re.compile(r"\|\s*default\s*:\s*(?P<words>'[^']*'|\"[^\"]*\")\s*")
_WHOLE: Final = re.compile(r"\{\{-?\s*+(?P<value>person\b[^{}]*+)\}\}")


def klaviyo_tags(text: str) -> Iterator[tuple[int, str]]:
    """Where each one begins, what is wrong with it and what to write instead."""
    for found in _TAG.finditer(text):
        shown = found[0].strip()
        read = _PROPERTY.match(found["value"] or "")
        if found["tag"]:
            advice = "keep it in the email template, around the snippet"
        elif read:
            advice = f"write {{{{ {read['dot'] or read['lookup']} | default: 'words' }}}} and paste the JSON body again"
        else:
            advice = "send the value as a field of the webhook, and name the field here"
        yield found.start(), f"{shown} … is Klaviyo's, who fills in nothing inside a profile property; {advice}"


def with_fields(text: str) -> str:
    """An email of Klaviyo's as copy: a person's property with nothing but a default becomes the field of its name. All
    else stays as it is; the checks say what to do about it."""
    return _WHOLE.sub(_as_field, text)


def _as_field(found: re.Match[str]) -> str:
    read = _PROPERTY.fullmatch(found["value"].removesuffix("-").rstrip())
    if read is None:
        return found[0]
    name, filters = read["dot"] or read["lookup"], read["filters"] or ""
    default = _DEFAULT.fullmatch(filters)
    if filters and default is None:
        return found[0]
    return f"{{{{ {name} | default: {default['words']} }}}}" if default else f"{{{{ {name} }}}}"
