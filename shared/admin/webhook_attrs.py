"""How Klaviyo's webhook step reads each attribute from the person. Pure."""

from collections.abc import Mapping
from typing import Any

_BREAKS_A_TAG = frozenset("'\"\\{}%|")


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
