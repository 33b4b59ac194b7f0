"""Long lists, a page at a time. One row more than fits is read: that tells whether there is more without counting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

T = TypeVar("T")
_MOST_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is asked for. `number` counts from 1."""

    number: int
    size: int

    @classmethod
    def of(cls, query: Mapping[str, str], size: int = 50) -> "Paging":
        """From `?page=3`; anything that is no page is the first."""
        text = query.get("page", "1")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 1
        return cls(min(max(number, 1), _MOST_PAGES), size)

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    @property
    def limit(self) -> int:
        """What to read: one more than is shown."""
        return self.size + 1

    def cut(self, rows: Sequence[T], path: str, query: Mapping[str, str]) -> "Part[T]":
        """The rows to show, and the ways to the pages beside them. `query`: filters that stay."""
        kept = {name: value for name, value in query.items() if name != "page" and value}

        def link(number: int) -> str:
            return f"{path}?{urlencode({**kept, 'page': str(number)})}"

        return Part(
            rows[: self.size],
            self.number,
            link(self.number - 1) if self.number > 1 else None,
            link(self.number + 1) if len(rows) > self.size else None,
        )


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """One page of a list."""

    rows: Sequence[T]
    number: int
    before: str | None
    after: str | None
