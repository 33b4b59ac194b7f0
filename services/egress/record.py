"""The record: what each person got, as its columns. Made column by column; only bodies, which are nearly all of it, are
moved as they lie in the store."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import zstandard

from services.egress.model import Details, Field, StoredRows
from services.egress.parquet import MOMENT, ROW_GROUP_BYTES, ROW_GROUP_ROWS, VARS, Form
from shared.exports import Record

_FIRST_BYTES = 1 << 20
_ROW_SIZE = 200  # what is not copy and not attrs
_SECOND_US = 1_000_000
_TEXTS = ("users", "trackings", "copies", "templates")  # columns that go as they come
_NO_COPY = (None, None, b"")
_BODY = VARS.field("body").type


class Bodies:
    """Texts one after the other, in memory that is used again: taking fresh memory for each group of 16 MB costs more
    than opening its copies."""

    def __init__(self) -> None:
        self._bytes = memoryview(bytearray(_FIRST_BYTES))
        self._ends = array("i", [0])

    def add(self, text: bytes | memoryview) -> None:
        """Append one, in UTF-8."""
        start = self._ends[-1]
        end = start + len(text)
        if end > len(self._bytes):
            larger = memoryview(bytearray(max(2 * len(self._bytes), end)))
            larger[:start] = self._bytes[:start]
            self._bytes = larger
        self._bytes[start:end] = text
        self._ends.append(end)

    def column(self, present: pa.Buffer | None) -> pa.StringArray:
        """All of them, without a copy: of use until `clear`. `present`: a bit each, None for all."""
        buffers = [present, pa.py_buffer(self._ends), pa.py_buffer(self._bytes)]
        return pa.Array.from_buffers(_BODY, len(self._ends) - 1, buffers)

    def clear(self) -> None:
        """Forget them and keep the memory."""
        self._ends = array("i", [0])


class RecordGroup:
    """Generations until they are written. A copy that does not open costs its text, not its row and not its hour:
    `lost` counts it."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._bodies = Bodies()
        self.clear()

    def clear(self) -> None:
        """Forget the rows."""
        self.rows, self.full, self.lost, self._size = 0, False, 0, 0
        self._accepted: list[npt.NDArray[np.int64]] = []
        self._texts: list[list[Field]] = [[] for _ in _TEXTS]
        self._subjects: list[bytes | None] = []
        self._preheaders: list[bytes | None] = []
        self._attr_ends = array("i", [0])
        self._names: list[str] = []
        self._values: list[object] = []
        self._details: list[list[Field]] = [[] for _ in fields(Details)]
        self._bodies.clear()

    def fill(self, rows: StoredRows, start: int) -> int:
        """Append those from `start` on until the group is full; where it stopped."""
        at = self._add_copies(rows, start)
        self._accepted.append(rows.accepted_us[start:at])
        for column, name in zip(self._texts, _TEXTS, strict=True):
            column += getattr(rows, name)[start:at]
        self._add_attrs(rows.attrs[start:at])
        if self._record == "analyst" and rows.details is not None:
            for column, one in zip(self._details, fields(Details), strict=True):
                column += getattr(rows.details, one.name)[start:at]
        self.rows += at - start
        self.full = self.rows >= ROW_GROUP_ROWS or self._size >= ROW_GROUP_BYTES
        return at

    def columns(self) -> list[pa.Array]:
        """All rows, by column; of use until `clear`."""
        accepted = np.concatenate(self._accepted)
        found = [
            pa.array(accepted // _SECOND_US),  # rounded down, so that no row names the next hour
            *(pa.array(column, pa.string()) for column in self._texts),
            self._vars(),
            pa.MapArray.from_arrays(
                pa.Array.from_buffers(pa.int32(), len(self._attr_ends), [None, pa.py_buffer(self._attr_ends)]),
                pa.array(self._names, pa.string()),
                pa.array([one if type(one) is str else _said(one) for one in self._values], pa.string()),
            ),
        ]
        return found + (_detail_columns(accepted, Details(*self._details)) if self._record == "analyst" else [])

    def _add_copies(self, rows: StoredRows, start: int) -> int:
        """Those that the group has room for; where it stopped."""
        size, at, most = self._size, start, min(len(rows), start + ROW_GROUP_ROWS - self.rows)
        while at < most and size < ROW_GROUP_BYTES:
            text, opened = rows.vars[at], rows.openers[at]
            try:
                subject, preheader, body = _NO_COPY if text is None or opened is None else opened(text)
            except (zstandard.ZstdError, ValueError):  # what is no UTF-8 is a ValueError
                subject, preheader, body = _NO_COPY
            if subject is None:
                self.lost += rows.copies[at] is not None
            else:
                size += len(subject) + len(body)
            self._subjects.append(subject)
            self._preheaders.append(preheader)
            self._bodies.add(body)
            size += _ROW_SIZE + len(rows.attrs[at])
            at += 1
        self._size = size
        return at

    def _add_attrs(self, texts: Sequence[bytes]) -> None:
        """Names in order, so that equal attrs make equal bytes."""
        for attrs in orjson.loads(b"[%b]" % b",".join(texts)):  # at once: one by one takes twice as long
            names = sorted(attrs)
            self._names += names
            self._values += map(attrs.__getitem__, names)
            self._attr_ends.append(len(self._names))

    def _vars(self) -> pa.StructArray:
        """The three texts; null where there is no copy."""
        absent = [subject is None for subject in self._subjects]
        present = pa.array([not one for one in absent]).buffers()[1] if any(absent) else None
        texts = [
            pa.array(self._subjects, pa.string()),
            pa.array(self._preheaders, pa.string()),
            self._bodies.column(present),
        ]
        return pa.StructArray.from_arrays(texts, fields=list(VARS), mask=pa.array(absent))


def _said(value: object) -> str | None:
    """A map of strings has one type for all: a list becomes its JSON text, which every warehouse can take apart."""
    return None if value is None else orjson.dumps(value).decode()


def _detail_columns(accepted: npt.NDArray[np.int64], details: Details) -> list[pa.Array]:
    propensities = np.frombuffer(b"".join(one or bytes(8) for one in details.propensities), ">f8").astype(np.float64)
    return [
        pa.array(accepted).view(MOMENT),
        pa.array(details.generations, pa.string()),
        pa.array(details.variant_names, pa.string()),
        pa.array(propensities, mask=np.array([one is None for one in details.propensities], bool)),
        pa.array(details.snapshots, pa.string()),
        pa.array([one == b"control" for one in details.decisions], pa.bool_()),
        *(
            pa.array(one, pa.string())
            for one in (details.decisions, details.reasons, details.outcomes, details.outcome_reasons)
        ),
    ]


def _events(rows: StoredRows) -> tuple[int, int]:
    return int(rows.accepted_us[0] // _SECOND_US), int(rows.accepted_us[-1] // _SECOND_US)


_PAGE_FIELDS = [
    ("event_timestamp", pa.int64()),  # unix seconds, UTC
    ("user_id", pa.string()),
    ("tracking_id", pa.string()),
    ("copy_id", pa.string()),
    ("template_id", pa.string()),
    ("vars", VARS),
    ("attrs", pa.map_(pa.string(), pa.string())),
]
_ANALYST_FIELDS = [
    ("event_time", MOMENT),
    ("generation_id", pa.string()),
    ("variant_name", pa.string()),
    ("propensity", pa.float64()),
    ("snapshot_id", pa.string()),
    ("control", pa.bool_()),
    ("decision", pa.string()),
    ("reason", pa.string()),
    ("outcome", pa.string()),
    ("outcome_reason", pa.string()),
]
_REPEATING = ["copy_id", "template_id", "attrs.key_value.key", "attrs.key_value.value"]
_STATISTICS = ["event_timestamp", "user_id", "tracking_id", "copy_id", "template_id"]


PAGE = Form(
    "generations", 1, _PAGE_FIELDS, partial(RecordGroup, "page"), _events, _REPEATING, _STATISTICS
)  # fmt: skip
"""The contract's record, of decisions with a copy."""

ANALYST = Form(
    "generations", 2, [*_PAGE_FIELDS, *_ANALYST_FIELDS], partial(RecordGroup, "analyst"), _events,
    [*_REPEATING, "variant_name", "snapshot_id", "decision", "reason", "outcome", "outcome_reason"],
    [*_STATISTICS, "event_time", "generation_id"],
)  # fmt: skip
"""That and what an analyst needs, of control decisions too."""

GENERATIONS: Mapping[Record, Form[StoredRows]] = {"page": PAGE, "analyst": ANALYST}
