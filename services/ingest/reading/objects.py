"""JSON objects → events and rejects."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from services.ingest.reading.klaviyo_event import Names, flat, is_event
from services.ingest.reading.mapping import Columns
from services.ingest.reading.values import Rejected
from services.ingest.records import Event, Reject, Unreadable

MAX_RAW_BYTES = 2048
_MAX_SHAPES = 1000  # distinct key sets that are remembered


class Objects:
    """Reads the objects of one file; those with the same keys alike."""

    def __init__(self, saved: Mapping[str, str], now: datetime, names: Names) -> None:
        self._saved, self._now, self._names = saved, now, names
        self._shapes: dict[tuple[str, ...], Columns | Rejected] = {}
        self._understood = False

    def read(self, text: str, number: int, raw: Sequence[str]) -> Event | Reject:
        """One object. Raises Unreadable when not even the first one is understood."""
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return Reject(number, "not JSON", raw_text(raw))
        if not isinstance(found, dict):
            return Reject(number, "not a JSON object", raw_text(raw))
        return self.take(found, number, raw)

    def take(self, found: Mapping[str, Any], number: int, raw: Sequence[str]) -> Event | Reject:
        """The same, of an object that was read already."""
        if is_event(found):
            found = flat(found, self._names)
        keys = tuple(found)
        columns = self._shapes.get(keys) or self._learn(keys)
        if isinstance(columns, Rejected):
            return Reject(number, str(columns), raw_text(raw))
        try:
            event = columns.read(list(found.values()), number)
        except Rejected as rejected:
            return Reject(number, str(rejected), raw_text(raw))
        self._understood = True
        return event

    def _learn(self, keys: tuple[str, ...]) -> Columns | Rejected:
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        shape: Columns | Rejected
        try:
            shape = Columns(keys, self._saved, self._now)
        except Unreadable as problem:
            if not self._understood:
                raise
            shape = Rejected(str(problem).split(";")[0])
        self._shapes[keys] = shape
        return shape


def raw_text(lines: Sequence[str]) -> str:
    """For people: a record's beginning, in what PostgreSQL can store."""
    text = "".join(lines[:50])[:MAX_RAW_BYTES].replace("\0", "\ufffd")
    return text.encode("utf-8", "replace")[:MAX_RAW_BYTES].decode("utf-8", "ignore")
