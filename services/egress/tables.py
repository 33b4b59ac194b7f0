"""The tables beside the record: what became of each generation, and what can be said."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from services.egress.model import OutcomeRow, VariantRow
from services.egress.parquet import MOMENT, VARS, Form, PlainGroup
from services.egress.record import GENERATIONS
from shared.exports import Record, Table

_VERSIONS = pa.list_(pa.struct([("version", pa.int32()), ("content_sha256", pa.string()), ("created_at", MOMENT)]))

_OUTCOME_FIELDS = [
    ("event_timestamp", pa.int64()),  # of the generation, unix seconds, UTC
    ("generation_id", pa.string()),
    ("user_id", pa.string()),
    ("tracking_id", pa.string()),
    ("template_id", pa.string()),
    ("copy_id", pa.string()),
    ("control", pa.bool_()),
    ("sends", pa.int32()),
    ("sent_at", MOMENT),
    ("delivered", pa.bool_()),
    ("opened", pa.bool_()),
    ("clicked", pa.bool_()),
    ("bounced", pa.bool_()),
    ("unsubscribed", pa.bool_()),
    ("spam", pa.bool_()),
    ("conversions", pa.int32()),
    ("revenue", pa.float64()),
    ("currency", pa.string()),
    ("decision", pa.string()),  # these two since version 2: `control` alone does not tell the arm
    ("reason", pa.string()),
]

_VARIANT_FIELDS = [
    ("copy_id", pa.string()),
    ("template_id", pa.string()),
    ("template_name", pa.string()),
    ("variant_name", pa.string()),
    ("theme", pa.string()),
    ("status", pa.string()),
    ("version", pa.int32()),
    ("content_sha256", pa.string()),
    ("vars", VARS),  # in Liquid, as served
    ("versions", _VERSIONS),
    ("created_at", MOMENT),
    ("first_used", pa.date32()),
    ("last_used", pa.date32()),
]


def _outcome_columns(rows: Sequence[OutcomeRow]) -> list[pa.Array]:
    columns = zip(*rows, strict=True)
    return [pa.array(values, kind) for values, (_, kind) in zip(columns, _OUTCOME_FIELDS, strict=True)]


def _variant_columns(rows: Sequence[VariantRow]) -> list[pa.Array]:
    columns = zip(*rows, strict=True)
    return [_column(name, values, kind) for values, (name, kind) in zip(columns, _VARIANT_FIELDS, strict=True)]


def _column(name: str, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if name == "vars":
        parts = [pa.array([copy[n] for copy in values], pa.string()) for n in range(3)]
        return pa.StructArray.from_arrays(parts, fields=list(VARS))
    if name == "versions":
        values = [[(one.version, one.content_sha256, one.created_us) for one in versions] for versions in values]
    return pa.array(values, kind)


def _variant_size(row: VariantRow) -> int:
    return 500 + sum(map(len, row.vars)) + 100 * len(row.versions)


OUTCOMES = Form(
    "outcomes", 2, _OUTCOME_FIELDS, lambda: PlainGroup(lambda row: 200, _outcome_columns),
    lambda rows: (rows[0].event_timestamp, rows[-1].event_timestamp),
    ["template_id", "copy_id", "currency", "decision", "reason"],
    ["event_timestamp", "generation_id", "user_id", "template_id", "copy_id"],
)  # fmt: skip
"""One row for each treatment and control of `generations`, whether or not an email of it is known."""

VARIANTS = Form(
    "variants", 1, _VARIANT_FIELDS, lambda: PlainGroup(_variant_size, _variant_columns), lambda rows: None,
    ["template_id", "template_name", "theme", "status"], ["copy_id", "template_id"],
)  # fmt: skip
"""All variants of an org, also those that are archived."""


def form_of(table: Table, record: Record) -> Form[Any]:
    """How a file of this table looks for an org with this record."""
    match table:
        case "generations":
            return GENERATIONS[record]
        case "outcomes":
            return OUTCOMES
        case "variants":
            return VARIANTS
