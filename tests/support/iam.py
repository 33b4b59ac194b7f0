"""Enough of how AWS reads a policy to ask it what it allows."""

import re
from collections.abc import Mapping
from typing import Any

Context = Mapping[str, str]


def allows(document: Mapping[str, Any], action: str, resource: str, context: Context | None = None) -> bool:
    """Whether one of the document's statements allows it; conditions are held against `context`."""
    return any(_applies(one, action, resource, context or {}) for one in document["Statement"])


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    assert statement["Effect"] == "Allow"
    return (
        any(_like(pattern, action) for pattern in _listed(statement["Action"]))
        and any(_like(pattern, resource) for pattern in _listed(statement["Resource"]))
        and all(_holds(kind, wanted, context) for kind, wanted in statement.get("Condition", {}).items())
    )


def _holds(kind: str, wanted: Mapping[str, Any], context: Context) -> bool:
    for key, values in wanted.items():
        said = context.get(key)
        match kind:
            case "StringEquals":
                holds = said in _listed(values)
            case "StringLikeIfExists":
                holds = said is None or any(_like(pattern, said) for pattern in _listed(values))
            case _:
                raise AssertionError(f"no test reads the condition {kind}")
        if not holds:
            return False
    return True


def _like(pattern: str, text: str) -> bool:
    """`*` is any text, `${*}` a star."""
    parts = re.split(r"(\$\{\*\}|\*)", pattern)
    shape = "".join({"*": ".*", "${*}": r"\*"}.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(shape, text, re.DOTALL) is not None


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
