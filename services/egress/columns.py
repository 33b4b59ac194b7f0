"""Columns that Arrow has no quick way to make: bodies, and attrs."""

from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types

_VIEW = np.dtype([("bytes", "<i4"), ("begin", "S4"), ("memory", "<i4"), ("start", "<i4")])
_SHORT_BYTES = 12


class Bodies:
    """Ends of texts, as a column that points at them: to move 17 KB once more costs half as much as opening them."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._starts: list[int] = []

    def add(self, text: bytes, start: int) -> None:
        """Append the end of a text in UTF-8, from `start` on."""
        self._texts.append(text)
        self._starts.append(start)

    def column(self, rows: slice, present: pa.Buffer | None) -> pa.StringViewArray:
        """Some of them. `present`: a bit each, None for all."""
        texts, starts = self._texts[rows], self._starts[rows]
        views = np.zeros(len(texts), _VIEW)
        views["bytes"] = np.fromiter(map(len, texts), np.int32, len(texts)) - starts
        views["begin"] = [text[start : start + 4] for text, start in zip(texts, starts, strict=True)]
        views["memory"], views["start"] = np.arange(len(texts)), starts
        for number in np.flatnonzero(views["bytes"] <= _SHORT_BYTES).tolist():  # these lie in the view itself
            text = texts[number][starts[number] :]
            views[number : number + 1] = np.frombuffer(len(text).to_bytes(4, "little") + text.ljust(12, b"\0"), _VIEW)
        memory = [present, pa.py_buffer(views), *map(pa.py_buffer, texts)]
        return pa.Array.from_buffers(pa.string_view(), len(texts), memory)


class Attrs:
    """Maps of text, each with its names in order, so that equal attrs make equal bytes."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[str, ...], tuple[int, list[str]]] = {}  # most rows have the same names
        self._of_rows: list[int] = []
        self._values: list[object] = []

    def add(self, texts: Sequence[bytes]) -> None:
        """Append JSON texts of objects."""
        for attrs in orjson.loads(b"[%b]" % b",".join(texts)):  # one by one: twice as long
            names = tuple(attrs)
            if (shape := self._shapes.get(names)) is None:
                shape = self._shapes[names] = (len(self._shapes), sorted(names))
            self._of_rows.append(shape[0])
            self._values += map(attrs.__getitem__, shape[1])

    def column(self) -> pa.MapArray:
        """All of them."""
        names = pa.array([name for _, names in self._shapes.values() for name in names], pa.string())
        lengths = np.array([len(names) for names in self._shapes], np.int64)
        of_rows = np.array(self._of_rows, np.intp)
        ends = np.concatenate([[0], np.cumsum(lengths[of_rows])])
        first = (np.cumsum(lengths) - lengths)[of_rows] - ends[:-1]  # of the shape's names, seen from the row's place
        at = np.arange(ends[-1]) + np.repeat(first, lengths[of_rows])
        return pa.MapArray.from_arrays(
            pa.array(ends, pa.int32()),
            names.take(pa.array(at)),
            pa.array([one if type(one) is str else _said(one) for one in self._values], pa.string()),
        )


def _said(value: object) -> str | None:
    """A map of strings has one type for all: a list becomes its JSON text, which every warehouse can take apart."""
    return None if value is None else orjson.dumps(value).decode()
