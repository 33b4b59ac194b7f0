"""GET: the query as the body that a webhook would have sent, so that everything behind it is the same."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from services.gateway.identity import Unusable
from services.gateway.repair import IDS, PREVIEWING, SECTIONS

_ONCE: Final = frozenset((*IDS, *PREVIEWING))


def body_of(query: Iterable[tuple[str, str]]) -> bytes:
    """The three ids, `copy_id`, `preview`, `write`; `attr.NAME` and `field.NAME`, a list where one comes again.

    Whatever else is there is named, so that it is counted as unknown. Raises Unusable for an id that is given twice:
    which one is meant cannot be told.
    """
    once: dict[str, Any] = {}
    sections: dict[str, dict[str, str | list[str]]] = {name: {} for name in SECTIONS}
    strangers: dict[str, Any] = {}
    for name, value in query:
        kind, dot, member = name.partition(".")
        if name in _ONCE:
            if name in once:
                raise Unusable("ambiguous_identity", f"{name} stands in the query more than once.", name)
            once[name] = value
        elif dot and member and f"{kind}s" in sections:
            section = sections[f"{kind}s"]
            before = section.get(member)
            if before is None:
                section[member] = value
            else:
                section[member] = [*before, value] if isinstance(before, list) else [before, value]
        elif name not in SECTIONS:
            strangers[name] = None
    head = {name: once[name] for name in (*IDS, *PREVIEWING) if name in once}
    return orjson.dumps(head | {name: members for name, members in sections.items() if members} | strangers)
