"""Generations as PostgreSQL sends them to the exporter, said row by row."""

from collections.abc import Iterable
from struct import pack
from typing import NamedTuple

import numpy as np

from services.egress.model import Details, Field, StoredRows
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
    if not (given := list(rows)):
        return StoredRows(np.array([], np.int64), [], [], [], [], [], [], [])
    accepted, users, trackings, copies, templates, attrs, texts, sources, details = zip(*given, strict=True)
    columns = zip(*(one for one in details if one is not None), strict=True)
    return StoredRows(
        np.array(accepted, np.int64), _sent(users), _sent(trackings), _sent(copies), _sent(templates),
        [text.encode() for text in attrs], texts,
        [None if source is None else opener(source) for source in sources],
        Details(*map(_sent, columns)) if any(details) else None,
    )  # fmt: skip


def _sent(values: Iterable[str | float | None]) -> list[Field]:
    return [
        value.encode() if isinstance(value, str) else None if value is None else pack(">d", value) for value in values
    ]
