"""The last requests the box has seen, for whoever checks a client against the API's document."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SECRET_HEADERS = frozenset({"authorization", "x-api-key", "cookie"})


@dataclass(slots=True)
class LoggedRequest:
    """`body` is None once it is no longer kept."""

    number: int
    at: datetime
    account_id: str | None
    operation: str | None
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    status: int

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "at": self.at,
            "account_id": self.account_id,
            "operation": self.operation,
            "method": self.method,
            "path": self.path,
            # The server gives header names as a subclass of str, which the JSON encoder refuses as keys.
            "headers": {str(name): _masked(name, value) for name, value in self.headers.items()},
            "body": self.body.decode("utf-8", "replace") if self.body is not None else None,
            "status": self.status,
        }


def _masked(name: str, value: str) -> str:
    """A secret header keeps its scheme, which callers check, and loses its secret."""
    if name.lower() not in SECRET_HEADERS:
        return value
    scheme, _, secret = value.rpartition(" ")
    return f"{scheme} ***" if scheme and secret else "***"


class RequestLog:
    """A ring bounded in entries and in body bytes. A body goes before its entry does, so that a few large imports do
    not push everything else out."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: deque[LoggedRequest] = deque()
        self._with_body: deque[LoggedRequest] = deque()
        self._bytes = 0
        self.total = 0

    def add(self, entry: LoggedRequest) -> None:
        self._entries.append(entry)
        self._with_body.append(entry)
        self._bytes += len(entry.body or b"")
        if len(self._entries) > self._max_entries:
            self._entries.popleft()
        while len(self._with_body) > len(self._entries) or self._bytes > self._max_bytes:
            oldest = self._with_body.popleft()
            self._bytes -= len(oldest.body or b"")
            oldest.body = None

    def next_number(self) -> int:
        self.total += 1
        return self.total

    def since(self, number: int, operation: str | None, limit: int) -> Iterator[LoggedRequest]:
        """Entries after `number` in order, at most `limit`."""
        found = 0
        for entry in self._entries:
            if entry.number > number and operation in (None, entry.operation):
                found += 1
                if found > limit:
                    return
                yield entry
