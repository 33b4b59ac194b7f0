"""The record: what each person got, as its columns. Made column by column; only bodies, which are nearly all of it, are
moved as they lie in the store."""

from array import array
from collections.abc import Mapping
from functools import partial

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import zstandard

from services.egress.model import Details, StoredRow
from services.egress.parquet import MOMENT, VARS, Form
from shared.exports import Record
from shared.vars_codec import open_vars

_FIRST_BYTES = 1 << 20
_ROW_SIZE = 200  # what is not copy and not attrs
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
        self.lost = 0
        self._rows: list[StoredRow] = []
        self._subjects: list[bytes | None] = []
        self._preheaders: list[bytes | None] = []
        self._attr_ends = array("i", [0])
        self._names: list[str] = []
        self._values: list[str | None] = []
        self._bodies.clear()

    def add(self, row: StoredRow) -> int:
        """Append one row; about how much text it is, in characters."""
        self._rows.append(row)
        return _ROW_SIZE + self._add_copy(row) + self._add_attrs(row.attrs)

    def columns(self) -> list[pa.Array]:
        """All rows, by column; of use until `clear`."""
        rows = self._rows
        return [
            pa.array([row.event_timestamp for row in rows], pa.int64()),
            pa.array([row.user_id for row in rows], pa.string()),
            pa.array([row.tracking_id for row in rows], pa.string()),
            pa.array([row.copy_id for row in rows], pa.string()),
            pa.array([row.template_id for row in rows], pa.string()),
            self._vars(),
            pa.MapArray.from_arrays(
                pa.Array.from_buffers(pa.int32(), len(self._attr_ends), [None, pa.py_buffer(self._attr_ends)]),
                pa.array(self._names, pa.string()),
                pa.array(self._values, pa.string()),
            ),
            *(self._details() if self._record == "analyst" else ()),
        ]

    def _add_copy(self, row: StoredRow) -> int:
        if row.vars is not None and row.source is not None:
            try:
                subject, preheader, body = open_vars(row.vars, row.source)
                size = len(str(subject, "utf-8")) + len(str(preheader, "utf-8")) + len(str(body, "utf-8"))
            except (zstandard.ZstdError, ValueError):  # what is no UTF-8 is a ValueError
                pass
            else:
                self._subjects.append(subject)
                self._preheaders.append(preheader)
                self._bodies.add(body)
                return size
        self.lost += row.copy_id is not None
        self._subjects.append(None)
        self._preheaders.append(None)
        self._bodies.add(b"")
        return 0

    def _add_attrs(self, attrs: Mapping[str, object]) -> int:
        """Names in order, so that equal attrs make equal bytes whatever order they were given in. A map of strings has
        one type for all: a list becomes its JSON text, which every warehouse can take apart."""
        size = 0
        for name in sorted(attrs):
            value = attrs[name]
            self._names.append(name)
            size += len(name)
            if isinstance(value, str):
                self._values.append(value)
                size += len(value)
            else:
                self._values.append(None if value is None else orjson.dumps(value).decode())
                size += _length(value)
        self._attr_ends.append(len(self._names))
        return size

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

    def _details(self) -> list[pa.Array]:
        details = zip(*map(_details, self._rows), strict=True)
        return [pa.array(values, kind) for values, (_, kind) in zip(details, _ANALYST_FIELDS, strict=True)]


def weight(attrs: Mapping[str, object]) -> int:
    """About how many characters of text the attrs of one generation are."""
    return sum(len(name) + _length(value) for name, value in attrs.items())


def _length(value: object) -> int:
    return sum(map(len, map(str, value))) if isinstance(value, list) else len(str(value))


def _details(row: StoredRow) -> Details:
    if row.details is None:
        raise AssertionError("a row for analysts was read without its details")
    return row.details


def _event(row: StoredRow) -> int:
    return row.event_timestamp


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
    "generations", 1, _PAGE_FIELDS, partial(RecordGroup, "page"), _event, _REPEATING, _STATISTICS
)  # fmt: skip
"""The contract's record, of decisions with a copy."""

ANALYST = Form(
    "generations", 2, [*_PAGE_FIELDS, *_ANALYST_FIELDS], partial(RecordGroup, "analyst"), _event,
    [*_REPEATING, "variant_name", "snapshot_id", "decision", "reason", "outcome", "outcome_reason"],
    [*_STATISTICS, "event_time", "generation_id"],
)  # fmt: skip
"""That and what an analyst needs, of control decisions too."""

GENERATIONS: Mapping[Record, Form[StoredRow]] = {"page": PAGE, "analyst": ANALYST}
