"""Klaviyo's filter grammar: `equals(metric_id,"X"),greater-or-equal(datetime,2026-11-22T00:00:00Z)`.

Terms are joined by commas or wrapped in `and(…)`. Texts are quoted (either kind), datetimes, numbers and booleans are
bare, lists stand in brackets. Parsing and testing are pure; what may be filtered is the operation's own list.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<punct>[(),\[\]])|(?P<bare>[^\s(),\[\]"']+))"""
)


class InvalidFilter(ValueError):
    """The filter text breaks the grammar or names what this operation cannot filter."""


@dataclass(frozen=True, slots=True)
class Term:
    operator: str
    field: str
    value: Any


COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "equals": operator.eq,
    "greater-or-equal": operator.ge,
    "greater-than": operator.gt,
    "less-or-equal": operator.le,
    "less-than": operator.lt,
    "contains": lambda have, want: want.lower() in have.lower(),
    "starts-with": lambda have, want: have.startswith(want),
    "ends-with": lambda have, want: have.endswith(want),
    "any": lambda have, want: have in want,
    "contains-any": lambda have, want: have in want,
    "has": lambda have, want: have is not None,
}


def parse(
    text: str, allowed: Mapping[str, Sequence[str]], values: Mapping[str, Sequence[str]] | None = None
) -> tuple[Term, ...]:
    """The terms of a filter, all of which must hold. `allowed` are the operators of each field, `values` what a field
    may be compared with where that is enumerated. Raises `InvalidFilter`."""
    terms = tuple(_Parser(text).terms())
    for term in terms:
        if term.field not in allowed:
            raise InvalidFilter(f"'{term.field}' is not a filterable field for this resource.")
        if term.operator not in allowed[term.field]:
            raise InvalidFilter(f"'{term.operator}' is not an allowed operator for '{term.field}'.")
        for value in term.value if isinstance(term.value, tuple) else (term.value,):
            if values and value not in values.get(term.field, (value,)):
                raise InvalidFilter(f"'{value}' is not an allowed value for '{term.field}'.")
    return terms


def holds(terms: Sequence[Term], value_of: Callable[[str], Any]) -> bool:
    """Whether all terms hold for the object whose fields `value_of` gives; a missing value satisfies only nothing."""
    return all(_holds(term, value_of(term.field)) for term in terms)


def _holds(term: Term, have: Any) -> bool:
    if have is None:
        return False
    want = term.value
    if term.operator == "equals" and isinstance(want, tuple):
        return have in want
    if isinstance(have, datetime) != isinstance(want, datetime) and term.operator != "has":
        return False
    return COMPARISONS[term.operator](have, want)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = TOKEN.match(text, at)
            if match is None:
                raise InvalidFilter(f"Invalid filter near '{text[at : at + 20]}'.")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match.group(kind)))
            at = match.end()
        self._at = 0

    def terms(self) -> list[Term]:
        found = self._list(end=None)
        if self._at != len(self._tokens):
            raise InvalidFilter("Invalid filter: text after its end.")
        return found

    def _list(self, end: str | None) -> list[Term]:
        found: list[Term] = []
        while True:
            name = self._take("bare")
            self._take("punct", "(")
            if name == "and":
                found += self._list(end=")")
                self._take("punct", ")")
            else:
                found.append(self._term(name))
            if not self._next_is(","):
                return found
            self._at += 1

    def _term(self, name: str) -> Term:
        if name not in COMPARISONS:
            raise InvalidFilter(f"'{name}' is not a filter operator.")
        field = self._take("bare")
        value: Any = None
        if name != "has":
            self._take("punct", ",")
            value = self._value()
        self._take("punct", ")")
        return Term(name, field, value)

    def _value(self) -> Any:
        if not self._next_is("["):
            return self._single()
        self._at += 1
        values = [self._single()]
        while self._next_is(","):
            self._at += 1
            values.append(self._single())
        self._take("punct", "]")
        return tuple(values)

    def _single(self) -> Any:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        self._at += 1
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind == "bare":
            return _bare(text)
        raise InvalidFilter("Invalid filter: a value is missing.")

    def _next_is(self, punct: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at] == ("punct", punct)

    def _take(self, kind: str, text: str | None = None) -> str:
        if self._at >= len(self._tokens):
            raise InvalidFilter("Invalid filter: it ends too early.")
        got_kind, got = self._tokens[self._at]
        if got_kind != kind or (text is not None and got != text):
            raise InvalidFilter(f"Invalid filter near '{got}'.")
        self._at += 1
        return got


def _bare(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text) if "." in text else int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidFilter(f"'{text}' is neither a number, a boolean nor a datetime; texts are quoted.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
