"""How Klaviyo's webhook step reads each attribute and each field from the person. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

_BREAKS_A_TAG = frozenset("'\"\\{}%|")
_OF_EVERYBODY: Final = ("first_name", "last_name", "email")
"""What Klaviyo knows of a person besides profile properties."""


def attrs_to_paste(defined: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The `attrs` of the body, by the definitions as they are stored; and the names that no tag can hold.

    Klaviyo's `default` also replaces a 0, which is a number like others; what is not there then comes as `None`, which
    the gateway takes for missing.
    """
    readable = {name: one for name, one in defined.items() if not _BREAKS_A_TAG & {*name} and name.isprintable()}
    attrs = {
        name: f"{{{{ person|lookup:'{name}' }}}}"
        if one.get("kind") == "number"
        else f"{{{{ person|lookup:'{name}'|default:'' }}}}"
        for name, one in readable.items()
    }
    return attrs, sorted({*defined} - {*readable})


def fields_to_paste(printed: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The `fields` of the body: the first name, and whatever the copy prints; and the names that no tag can hold.

    Without `default` here, too, since any of them may be a number; a `None` or `False` is missing to the gateway.
    """
    names = sorted({"first_name", *printed})
    readable = [name for name in names if not _BREAKS_A_TAG & {*name} and name.isprintable()]
    fields = {
        name: f"{{{{ person.{name} }}}}" if name in _OF_EVERYBODY else f"{{{{ person|lookup:'{name}' }}}}"
        for name in readable
    }
    return fields, [name for name in names if name not in readable]
