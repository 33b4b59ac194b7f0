"""One admitted API call, as the operations see it: no HTTP, no waiting."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from simulator.account import Account, WrittenBy
from simulator.api import filters
from simulator.api.jsonapi import Json, decode_cursor, encode_cursor, invalid, sparse
from simulator.api.operations import Operation
from simulator.deferred import Deferred
from simulator.world import World

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Call:
    """`number` is the request's in the log, `base` the origin the caller used; `body` is the JSON object of a write and
    `raw` the same as it was received."""

    world: World
    deferred: Deferred
    account: Account
    operation: Operation
    scopes: frozenset[str]
    number: int
    now: datetime
    base: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: Json
    raw: bytes

    @property
    def by(self) -> WrittenBy:
        return WrittenBy("request", self.number)

    def fields(self, kind: str, known: Sequence[str]) -> tuple[str, ...] | None:
        return sparse(self.query, kind, known)

    def listed(self, name: str) -> tuple[str, ...]:
        """A comma-separated query parameter."""
        return tuple(part.strip() for part in self.query.get(name, "").split(",") if part.strip())

    def includes(self) -> tuple[str, ...]:
        """The `include` parameter, checked against the operation. Raises `ApiError`."""
        wanted = self.listed("include")
        for name in wanted:
            if name not in self.operation.includes:
                detail = f"'{name}' is not an allowed include parameter for this resource."
                raise invalid(detail, parameter="include")
        return wanted


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Json


def one(call: Call, resource: Json, included: Iterable[Json] | None = None) -> Answer:
    body: Json = {"data": resource, "links": {"self": resource["links"]["self"]}}
    if included is not None:
        body["included"] = list(included)
    return Answer(200, body)


def page(
    call: Call,
    items: Iterable[Item],
    value_of: Callable[[Item, str], Any],
    default_sort: str = "id",
    again: int = 0,
) -> tuple[list[Item], Json]:
    """One page of a collection and its links: filtered, sorted, cut at a cursor that survives new arrivals.

    `value_of(item, field)` gives what filters and sorts compare; `again`: so many of a page come on the next one too.
    Raises `ApiError`.
    """
    kept = _filtered(call, items, value_of)
    sort = call.query.get("sort") or default_sort
    if call.query.get("sort") and sort.removeprefix("-") not in call.operation.sorts:
        raise invalid(f"'{sort}' is not an allowed sort for this resource.", parameter="sort")
    name, backwards = sort.removeprefix("-"), sort.startswith("-")

    def key(item: Item) -> tuple[str, str]:
        return _sortable(value_of(item, name)), str(value_of(item, "id"))

    kept.sort(key=key, reverse=backwards)
    if cursor := call.query.get("page[cursor]"):
        first, second = _position(call, cursor)
        kept = [item for item in kept if (key(item) < (first, second) if backwards else key(item) > (first, second))]
    size = _page_size(call)
    shown = kept[:size]
    links = {"self": _link(call, None)}
    if len(kept) > size:
        # The document types `next` as text, so it is left out on the last page; the live API sends null there.
        links["next"] = _link(
            call, encode_cursor("\n".join((*key(shown[-1 - min(again, size - 1)]), call.now.isoformat())))
        )
    return shown, links


def _filtered(call: Call, items: Iterable[Item], value_of: Callable[[Item, str], Any]) -> list[Item]:
    if not (text := call.query.get("filter")):
        return list(items)
    try:
        terms = filters.parse(text, call.operation.filters, call.operation.filter_values)
        return [item for item in items if filters.holds(terms, partial(value_of, item))]
    except filters.InvalidFilter as error:
        raise invalid(str(error), parameter="filter") from None
    except TypeError:
        raise invalid("A filter value has the wrong type for its field.", parameter="filter") from None


def _position(call: Call, cursor: str) -> tuple[str, str]:
    """Where a cursor points to. Raises `ApiError` for one that is none, or has expired."""
    first, second, made = [*decode_cursor(cursor).split("\n"), "", ""][:3]
    life_s = call.world.settings.cursor_life_s
    if life_s is not None and made and (call.now - datetime.fromisoformat(made)).total_seconds() > life_s:
        raise invalid("Invalid page cursor.", parameter="page[cursor]")
    return first, second


def _page_size(call: Call) -> int:
    limits = call.operation.page
    if limits is None:
        return 10**9
    asked = call.query.get("page[size]")
    if asked is None or not limits.settable:
        return limits.default
    if not asked.isdecimal() or not 1 <= int(asked) <= limits.maximum:
        raise invalid(f"Page size must be between 1 and {limits.maximum}.", parameter="page[size]")
    return int(asked)


def _sortable(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int):
        return f"{value:020d}"
    return "" if value is None else str(value)


def _link(call: Call, cursor: str | None) -> str:
    query = dict(call.query)
    if cursor is not None:
        query["page[cursor]"] = cursor
    return f"{call.base}{call.path}" + (f"?{urlencode(query)}" if query else "")
