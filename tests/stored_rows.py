"""Generations as the exporter has them from PostgreSQL, said row by row."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # ships no types

from services.egress.model import Details, StoredRows
from shared.schemas.copy import VariantSource
from shared.vars_codec import opener

SECOND_US = 1_000_000


class Detail(NamedTuple):
    """What an analyst's record says more of one."""

    generation_id: str
    variant_name: str | None
    propensity: float | None
    snapshot_id: str | None
    decision: str
    reason: str
    outcome: str | None
    outcome_reason: str | None


class Stored(NamedTuple):
    """One generation."""

    accepted_us: int
    user_id: str
    tracking_id: str
    copy_id: str | None
    template_id: str
    attrs: str
    vars: bytes | None
    source: VariantSource | None
    detail: Detail | None = None

    @property
    def event_timestamp(self) -> int:
        return self.accepted_us // SECOND_US


def stored_rows(rows: Iterable[Stored]) -> StoredRows:
    """The same by column."""
    given = list(rows)
    users, trackings, copies, templates = (
        pa.array([getattr(row, name) for row in given], pa.string())
        for name in ("user_id", "tracking_id", "copy_id", "template_id")
    )
    return StoredRows(
        np.array([row.accepted_us for row in given], np.int64), users, trackings, copies, templates,
        [row.attrs.encode() for row in given], [row.vars for row in given],
        [None if row.source is None else opener(row.source) for row in given],
        _details([row.detail for row in given if row.detail is not None]) if any(row.detail for row in given) else None,
    )  # fmt: skip


def _details(details: Sequence[Detail]) -> Details:
    return Details(
        *(
            pa.array(values, pa.float64() if name == "propensity" else pa.string())
            for name, values in zip(Detail._fields, zip(*details, strict=True), strict=True)
        )
    )
