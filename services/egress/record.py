"""The record: what each person got, as its columns. Made column by column; only bodies, which are nearly all of it, are
left where they were opened."""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
import pyarrow.compute as pc  # type: ignore[import-untyped]  # ships no types
import zstandard

from services.egress.columns import Attrs, Bodies
from services.egress.model import Details, StoredRows
from services.egress.parquet import MOMENT, ROW_GROUP_BYTES, ROW_GROUP_ROWS, VARS, VARS_SEEN, WRITTEN_ROWS, Form
from shared.exports import Record

_ROW_SIZE = 200  # what is not copy and not attrs
_SECOND_US = 1_000_000
_NO_COPY = (None, None, b"", 0)
_TEXTS = ("users", "trackings", "copies", "templates")  # columns that go as they come


class RecordGroup:
    """Generations until they are written. A copy that does not open costs its text, not its row and not its hour:
    `lost` counts it."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.clear()

    def clear(self) -> None:
        """Forget the rows."""
        self.rows, self.full, self.lost, self._size = 0, False, 0, 0
        self._accepted: list[npt.NDArray[np.int64]] = []
        self._texts: list[list[pa.StringArray]] = [[] for _ in _TEXTS]
        self._subjects: list[bytes | None] = []
        self._preheaders: list[bytes | None] = []
        self._bodies, self._attrs = Bodies(), Attrs()
        self._details: list[list[pa.Array]] = [[] for _ in fields(Details)]

    def fill(self, rows: StoredRows, start: int) -> int:
        """Append those from `start` on until the group is full; where it stopped."""
        at = self._add_copies(rows, start)
        self._accepted.append(rows.accepted_us[start:at])
        for column, name in zip(self._texts, _TEXTS, strict=True):
            column.append(getattr(rows, name)[start:at])
        self._attrs.add(rows.attrs[start:at])
        if self._record == "analyst" and rows.details is not None:
            for column, one in zip(self._details, fields(Details), strict=True):
                column.append(getattr(rows.details, one.name)[start:at])
        self.rows += at - start
        self.full = self.rows >= ROW_GROUP_ROWS or self._size >= ROW_GROUP_BYTES
        return at

    def columns(self) -> list[pa.Array | pa.ChunkedArray]:
        """All rows, by column."""
        accepted = np.concatenate(self._accepted)
        found = [
            pa.array(accepted // _SECOND_US),  # rounded down, so that no row names the next hour
            *map(pa.concat_arrays, self._texts),
            pa.chunked_array([self._vars(slice(at, at + WRITTEN_ROWS)) for at in range(0, self.rows, WRITTEN_ROWS)]),
            self._attrs.column(),
        ]
        if self._record == "analyst":
            found += _detail_columns(accepted, Details(*map(pa.concat_arrays, self._details)))
        return found

    def _add_copies(self, rows: StoredRows, start: int) -> int:
        """Those that the group has room for; where it stopped."""
        size, at, most = self._size, start, min(len(rows), start + ROW_GROUP_ROWS - self.rows)
        while at < most and size < ROW_GROUP_BYTES:
            blob, opened = rows.vars[at], rows.openers[at]
            try:
                subject, preheader, text, body_at = _NO_COPY if blob is None or opened is None else opened(blob)
            except (zstandard.ZstdError, ValueError):  # what is no UTF-8 is a ValueError
                subject, preheader, text, body_at = _NO_COPY
            if subject is None:
                self.lost += rows.copies[at].is_valid
            else:
                size += len(subject) + len(text) - body_at
            self._subjects.append(subject)
            self._preheaders.append(preheader)
            self._bodies.add(text, body_at)
            size += _ROW_SIZE + len(rows.attrs[at])
            at += 1
        self._size = size
        return at

    def _vars(self, rows: slice) -> pa.StructArray:
        """The three texts of some rows; null where there is no copy."""
        absent = [subject is None for subject in self._subjects[rows]]
        present = pa.array([not one for one in absent]).buffers()[1] if any(absent) else None
        texts = [
            pa.array(self._subjects[rows], pa.string()),
            pa.array(self._preheaders[rows], pa.string()),
            self._bodies.column(rows, present),
        ]
        return pa.StructArray.from_arrays(texts, fields=list(VARS_SEEN), mask=pa.array(absent))


def _detail_columns(accepted: npt.NDArray[np.int64], details: Details) -> list[pa.Array]:
    return [
        pa.array(accepted).view(MOMENT), details.generations, details.variant_names, details.propensities,
        details.snapshots, pc.equal(details.decisions, "control"), details.decisions, details.reasons,
        details.outcomes, details.outcome_reasons,
    ]  # fmt: skip


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
_SEEN = {"vars": VARS_SEEN}
_STATISTICS = ["event_timestamp", "user_id", "tracking_id", "copy_id", "template_id"]


PAGE = Form(
    "generations", 1, _PAGE_FIELDS, partial(RecordGroup, "page"), _events, _REPEATING, _STATISTICS, _SEEN
)  # fmt: skip
"""The contract's record, of decisions with a copy."""

ANALYST = Form(
    "generations", 2, [*_PAGE_FIELDS, *_ANALYST_FIELDS], partial(RecordGroup, "analyst"), _events,
    [*_REPEATING, "variant_name", "snapshot_id", "decision", "reason", "outcome", "outcome_reason"],
    [*_STATISTICS, "event_time", "generation_id"], _SEEN,
)  # fmt: skip
"""That and what an analyst needs, of control decisions too."""

GENERATIONS: Mapping[Record, Form[StoredRows]] = {"page": PAGE, "analyst": ANALYST}
