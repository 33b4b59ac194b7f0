"""Attrs by their definitions → the cell. Compiled once per configuration; pure, and blind to `fields` by type."""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from services.generator.select import NO_ATTRS, TOO_MANY_ATTRS, canonical, cell_of, escaped, named, texts, too_many
from shared.schemas.attributes import (
    MISSING,
    OTHER,
    Attribute,
    Attributes,
    DateAttribute,
    ListAttribute,
    NumberAttribute,
    OtherAttrs,
    StringAttribute,
    folded,
    pattern_of,
)
from shared.schemas.jobs import Attrs

_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})(e[+-]?\d{1,2})?", re.ASCII)
_UNIX = re.compile(r"\d{9,14}", re.ASCII)  # eight digits are a day: 20261124
_MILLISECONDS_FROM = 100_000_000_000  # as seconds: the year 5138
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Meant = Callable[[Sequence[str], date], str]
"""What one or more folded values, distinct and none of them empty, mean on this day; escaped."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """One attribute. Compared by identity, because what it read is kept."""

    meant: Meant
    default: str | None  # read when nothing is given
    splits: bool = False
    dated: bool = False


class Cells:
    """How a template's attrs become cells. Without definitions every attr is a text, or none counts."""

    def __init__(
        self, attributes: Mapping[str, Attribute], *, other_attrs: OtherAttrs = "pass", zone: tzinfo = UTC
    ) -> None:
        self._readers = {escaped(name): _reader(one, zone) for name, one in attributes.items()}
        self._passes = other_attrs == "pass"
        self._zone = zone

    def of(self, attrs: Attrs, accepted_at: datetime) -> str:
        """The cell of attrs that were accepted at this moment."""
        if not self._readers:
            return cell_of(attrs) if self._passes else NO_ATTRS
        if too_many(attrs):
            return TOO_MANY_ATTRS
        given: dict[str, tuple[str, ...]] = {}
        others: Attrs = {}
        for name, value in attrs.items():
            known = canonical(name)
            if known in self._readers:
                given[known] = given.get(known, ()) + (tuple(value) if isinstance(value, list) else (value,))
            elif self._passes:
                others[name] = value
        today = accepted_at.astimezone(self._zone).date()
        pairs = {
            name: _read(reader, given.get(name, ()), today if reader.dated else date.min)
            for name, reader in self._readers.items()
        }
        return named(pairs | texts(others))


PLAIN = Cells({})
"""Nothing is defined: every attr is a text."""

_DEFINITIONS: TypeAdapter[dict[str, Attribute]] = TypeAdapter(Attributes)


def compiled(
    of_org: Mapping[str, Any], of_template: Mapping[str, Any], *, other_attrs: OtherAttrs, time_zone: str | None
) -> Cells:
    """Of definitions as they are stored; the template's go before the org's. Raises ValueError where they are none."""
    if not of_org and not of_template and other_attrs == "pass":
        return PLAIN
    known = _DEFINITIONS.validate_python(of_org) | _DEFINITIONS.validate_python(of_template)
    try:
        zone = ZoneInfo(time_zone) if time_zone else UTC
    except (KeyError, OSError):
        raise ValueError(f"there is no time zone {time_zone!r}") from None
    return Cells(known, other_attrs=other_attrs, zone=zone)


@lru_cache(maxsize=16_384)  # the same few dozen values come again and again; patterns and dates cost microseconds
def _read(reader: _Reader, given: tuple[str, ...], today: date) -> str:
    parts = chain.from_iterable(text.split(",") for text in given) if reader.splits else given
    values = [value for value in dict.fromkeys(map(folded, parts)) if value]
    if not values and reader.default is None:
        return MISSING
    return reader.meant(values or [str(reader.default)], today)


def _reader(attribute: Attribute, zone: tzinfo) -> _Reader:
    default = None if attribute.default is None else str(attribute.default)
    match attribute:
        case ListAttribute():
            return _Reader(_several(attribute), default, splits=True)
        case StringAttribute():
            option = _option_of(attribute)
            return _Reader(_single(lambda value, _: escaped(option(value))), default)
        case NumberAttribute():
            edges, names = attribute.edges, _buckets(attribute.edges)

            def bucket(value: str, _today: date) -> str:
                return names[bisect_right(edges, float(value))] if _NUMBER.fullmatch(value) else OTHER

            return _Reader(_single(bucket), default)
        case DateAttribute():
            days, spans = attribute.edges, _buckets(attribute.edges)

            def since(value: str, today: date) -> str:
                day = day_of(value, zone)
                return OTHER if day is None else spans[bisect_right(days, (today - day).days)]

            return _Reader(_single(since), default, dated=True)


def _single(of: Callable[[str, date], str]) -> Meant:
    """Of an attribute that has one value; who brings several has said none of them."""
    return lambda values, today: of(values[0], today) if len(values) == 1 else OTHER


def _several(attribute: ListAttribute) -> Meant:
    option = _option_of(attribute)
    order = {name: number for number, name in enumerate(attribute.options or ())}

    def place(found: str) -> tuple[int, str]:
        return order.get(found, len(order)), found

    def several(values: Sequence[str], _today: date) -> str:
        found = sorted({option(value) for value in values}, key=place)[: attribute.most]
        return ",".join(sorted(map(escaped, found)))

    return several


def _option_of(attribute: StringAttribute) -> Callable[[str], str]:
    """Exact words go before patterns, and patterns in the order in which they were written."""
    if attribute.options is None:
        return str
    exact: dict[str, str] = {}
    patterns: list[tuple[re.Pattern[str], str]] = []
    for option, aliases in attribute.options.items():
        exact[option] = option
        for alias in aliases:
            if (pattern := pattern_of(alias)) is not None:
                patterns.append((pattern, option))
            else:
                exact[alias] = option

    def of(value: str) -> str:
        found = exact.get(value)
        return found or next((option for pattern, option in patterns if pattern.search(value)), OTHER)

    return of


def _buckets(edges: Sequence[float]) -> list[str]:
    """Names of the buckets: below the first edge, between two, from the last one on."""
    shown = [str(int(edge)) if edge == int(edge) else repr(edge) for edge in edges]
    between = [f"{low}_to_{high}" for low, high in pairwise(shown)]
    return [f"below_{shown[0]}", *between, f"from_{shown[-1]}"]


def day_of(text: str, zone: tzinfo) -> date | None:
    """The day in this zone of a folded ISO 8601 text, Unix seconds or milliseconds; None: it is none of them."""
    try:
        if _UNIX.fullmatch(text):
            number = int(text)
            seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
            return (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).date()
        moment = datetime.fromisoformat(text.upper())
        return moment.date() if moment.tzinfo is None else moment.astimezone(zone).date()
    except (ValueError, OverflowError):
        return None
