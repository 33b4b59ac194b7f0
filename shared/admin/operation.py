"""An operation: a typed async function and what is known of it. What surfaces offer is derived from these values."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from inspect import signature
from typing import Any, Final, Generic, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from shared.admin.context import Asking, Context
from shared.people.roles import Role
from shared.zones import has_neighbours

A = TypeVar("A", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
F = TypeVar("F")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

PREFIX: Final = "/api/v1/orgs/{org_slug}"
_NUMBERS: Final = 1 << 63
_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")


class AskedModel(BaseModel):
    """What an operation is asked. Unknown fields are refused: one that is misspelled would be a wish unheard."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    @model_validator(mode="before")
    @classmethod
    def _can_be_stored(cls, asked: Any) -> Any:
        for name, value in asked.items() if isinstance(asked, dict) else ():
            if not storable(value):
                raise ValueError(f"{name} holds a character that no text may hold (NUL, or half of a pair)")
        return asked

    @field_validator("*")
    @classmethod
    def _can_be_reckoned_with(cls, value: Any) -> Any:
        if isinstance(value, date) and not has_neighbours(value):
            raise ValueError("is not between the years 1900 and 3000")
        if isinstance(value, int) and not -_NUMBERS <= value < _NUMBERS:
            raise ValueError("is a larger number than any that is stored")
        return value


class ResultModel(BaseModel):
    """What an operation answers. Its fields of type UUID are what the audit log remembers of it; one with a field
    `changed` that is false stands in no audit log."""

    model_config = ConfigDict(frozen=True)


class Nothing(AskedModel):
    """Asked where the org says it all."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[A, R]):
    """`path` stands below `PREFIX`; its parameters are fields of what is asked. `target`: the fields that say what was
    touched. `changes`: it is audited; one that does not change anything cannot, its transaction only reads."""

    name: str
    method: Method
    path: str
    role: Role
    changes: bool
    summary: str
    asked: type[A]
    result: type[R]
    work: Callable[[Context, A, Any], Awaitable[R]]
    first: Callable[[Asking, A], Awaitable[Any]] | None = None
    target: tuple[str, ...] = ()
    only_cli: str = ""  # why it is not offered over HTTP

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """The fields that come from the path."""
        return tuple(_PARAMETER.findall(self.path))

    def target_of(self, asked: A) -> str:
        """What is touched, in a few words."""
        return " / ".join(str(getattr(asked, name)) for name in self.target or self.path_parameters)


def operation(
    name: str,
    method: Method,
    path: str,
    role: Role,
    summary: str,
    *,
    changes: bool | None = None,
    target: tuple[str, ...] = (),
    only_cli: str = "",
) -> Callable[[Callable[[Context, A], Awaitable[R]]], Operation[A, R]]:
    """Declares an operation. `changes` follows from the method where it is not given."""

    def declare(work: Callable[[Context, A], Awaitable[R]]) -> Operation[A, R]:
        asked, result = _types(work)

        async def with_nothing(context: Context, asked: A, _: None) -> R:
            return await work(context, asked)

        does = method != "GET" if changes is None else changes
        return Operation(
            name, method, path, role, does, summary, asked, result, with_nothing, None, target, only_cli
        )  # fmt: skip

    return declare


def operation_after(
    first: Callable[[Asking, A], Awaitable[F]],
    name: str,
    method: Method,
    path: str,
    role: Role,
    summary: str,
    *,
    changes: bool | None = None,
    target: tuple[str, ...] = (),
) -> Callable[[Callable[[Context, A, F], Awaitable[R]]], Operation[A, R]]:
    """Declares an operation that does something slow before its transaction begins, like asking Klaviyo, and is handed
    what came of it: a connection of the pool must not wait for somebody else's server."""

    def declare(work: Callable[[Context, A, F], Awaitable[R]]) -> Operation[A, R]:
        asked, result = _types(work)
        does = method != "GET" if changes is None else changes
        return Operation(name, method, path, role, does, summary, asked, result, work, first, target)

    return declare


class Registry:
    """All operations by name. Raises ValueError for two of one name or route, and for a secret in a URL."""

    def __init__(self, operations: Iterable[Operation[Any, Any]]) -> None:
        self._operations: dict[str, Operation[Any, Any]] = {}
        routes: set[tuple[str, str]] = set()
        for one in operations:
            route = (one.method, _PARAMETER.sub("{}", one.path))
            if one.name in self._operations or (route in routes and not one.only_cli):
                raise ValueError(f"{one.name} ({one.method} {one.path}) is declared twice")
            missing = {*one.path_parameters, *one.target} - set(one.asked.model_fields)
            if missing:
                raise ValueError(f"{one.name}: {sorted(missing)} is no field of {one.asked.__name__}")
            in_url = one.path_parameters if has_body(one) else tuple(one.asked.model_fields)
            if any(is_secret(one.asked, name) for name in in_url):
                raise ValueError(f"{one.name}: a secret must not stand in a URL")
            routes.add(route)
            self._operations[one.name] = one

    def __iter__(self) -> Iterator[Operation[Any, Any]]:
        return iter(self._operations.values())

    def __getitem__(self, name: str) -> Operation[Any, Any]:
        return self._operations[name]

    def __contains__(self, name: object) -> bool:
        return name in self._operations

    def served(self) -> Iterator[Operation[Any, Any]]:
        """Those that HTTP offers."""
        return (one for one in self if not one.only_cli)


def has_body(one: Operation[Any, Any]) -> bool:
    """Whether what is asked comes in a body; else its fields that are not of the path come in the query."""
    return one.method in ("POST", "PUT", "PATCH")


def is_secret(model: type[BaseModel], name: str) -> bool:
    """Whether a field holds a secret."""
    return "SecretStr" in str(model.model_fields[name].annotation)


def storable(asked: Any) -> bool:
    """Whether the database can hold all texts of it: neither NUL nor half of a surrogate pair."""
    waiting = [asked]
    while waiting:
        match waiting.pop():
            case str() as text if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
                return False
            case dict() as inner:
                waiting += (*inner, *inner.values())
            case list() | tuple() as inner:
                waiting += inner
            case _:
                pass
    return True


def _types(work: Callable[..., Any]) -> tuple[type[Any], type[Any]]:
    hints = get_type_hints(work)
    names = list(signature(work).parameters)
    return hints[names[1]], hints["return"]
