"""The columns of each exported table, and what each engine calls their types.

A test holds them against the files that the exporter writes.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from shared.exports import Record, Table

Kind = Literal["text", "bigint", "int", "double", "bool", "moment", "day", "vars", "attrs", "versions"]
Columns = Sequence[tuple[str, Kind]]
Dialect = Literal["duckdb", "spark", "postgres", "athena", "snowflake", "bigquery", "redshift"]

_PAGE: Final[Columns] = (
    ("event_timestamp", "bigint"), ("user_id", "text"), ("tracking_id", "text"), ("copy_id", "text"),
    ("template_id", "text"), ("vars", "vars"), ("attrs", "attrs"),
)  # fmt: skip
_ANALYST: Final[Columns] = (
    *_PAGE,
    ("event_time", "moment"), ("generation_id", "text"), ("variant_name", "text"), ("propensity", "double"),
    ("snapshot_id", "text"), ("control", "bool"), ("decision", "text"), ("reason", "text"), ("outcome", "text"),
    ("outcome_reason", "text"),
)  # fmt: skip
_OUTCOMES_FIRST: Final[Columns] = (
    ("event_timestamp", "bigint"), ("generation_id", "text"), ("user_id", "text"), ("tracking_id", "text"),
    ("template_id", "text"), ("copy_id", "text"), ("control", "bool"), ("sends", "int"), ("sent_at", "moment"),
    ("delivered", "bool"), ("opened", "bool"), ("clicked", "bool"), ("bounced", "bool"), ("unsubscribed", "bool"),
    ("spam", "bool"), ("conversions", "int"), ("revenue", "double"), ("currency", "text"),
)  # fmt: skip
_OUTCOMES: Final[Columns] = (*_OUTCOMES_FIRST, ("decision", "text"), ("reason", "text"))
_VARIANTS: Final[Columns] = (
    ("copy_id", "text"), ("template_id", "text"), ("template_name", "text"), ("variant_name", "text"),
    ("theme", "text"), ("status", "text"), ("version", "int"), ("content_sha256", "text"), ("vars", "vars"),
    ("versions", "versions"), ("created_at", "moment"), ("first_used", "day"), ("last_used", "day"),
)  # fmt: skip

TYPES: Final[Mapping[Dialect, Mapping[Kind, str]]] = {
    "duckdb": {
        "text": "VARCHAR", "bigint": "BIGINT", "int": "INTEGER", "double": "DOUBLE", "bool": "BOOLEAN",
        "moment": "TIMESTAMPTZ", "day": "DATE", "vars": "STRUCT(subject VARCHAR, preheader VARCHAR, body VARCHAR)",
        "attrs": "MAP(VARCHAR, VARCHAR)",
        "versions": 'STRUCT("version" INTEGER, content_sha256 VARCHAR, created_at TIMESTAMPTZ)[]',
    },
    "spark": {
        "text": "STRING", "bigint": "BIGINT", "int": "INT", "double": "DOUBLE", "bool": "BOOLEAN",
        "moment": "TIMESTAMP", "day": "DATE", "vars": "STRUCT<subject: STRING, preheader: STRING, body: STRING>",
        "attrs": "MAP<STRING, STRING>",
        "versions": "ARRAY<STRUCT<version: INT, content_sha256: STRING, created_at: TIMESTAMP>>",
    },
    "postgres": {
        "text": "text", "bigint": "bigint", "int": "integer", "double": "double precision", "bool": "boolean",
        "moment": "timestamptz", "day": "date", "vars": "jsonb", "attrs": "jsonb", "versions": "jsonb",
    },
    "athena": {
        "text": "string", "bigint": "bigint", "int": "int", "double": "double", "bool": "boolean",
        "moment": "timestamp", "day": "date", "vars": "struct<subject:string,preheader:string,body:string>",
        "attrs": "map<string,string>",
        "versions": "array<struct<version:int,content_sha256:string,created_at:timestamp>>",
    },
    "snowflake": {
        "text": "VARCHAR", "bigint": "NUMBER(38, 0)", "int": "NUMBER(38, 0)", "double": "FLOAT", "bool": "BOOLEAN",
        "moment": "TIMESTAMP_TZ", "day": "DATE", "vars": "VARIANT", "attrs": "VARIANT", "versions": "VARIANT",
    },
    "bigquery": {
        "text": "STRING", "bigint": "INT64", "int": "INT64", "double": "FLOAT64", "bool": "BOOL",
        "moment": "TIMESTAMP", "day": "DATE", "vars": "STRUCT<subject STRING, preheader STRING, body STRING>",
        "attrs": "STRUCT<key_value ARRAY<STRUCT<key STRING, value STRING>>>",
        "versions": "ARRAY<STRUCT<version INT64, content_sha256 STRING, created_at TIMESTAMP>>",
    },
    "redshift": {
        "text": "VARCHAR(65535)", "bigint": "BIGINT", "int": "INTEGER", "double": "DOUBLE PRECISION",
        "bool": "BOOLEAN", "moment": "TIMESTAMP", "day": "DATE", "vars": "SUPER", "attrs": "SUPER",
        "versions": "SUPER",
    },
}  # fmt: skip


def columns_of(table: Table, record: Record) -> Columns:
    """In the order of the files."""
    match table:
        case "generations":
            return _ANALYST if record == "analyst" else _PAGE
        case "outcomes":
            return _OUTCOMES
        case "variants":
            return _VARIANTS


def added_since_first(table: Table, record: Record) -> Columns:
    """Those that files of an earlier version lack: a table that was made for them needs these columns still."""
    first = {"generations": len(_PAGE), "outcomes": len(_OUTCOMES_FIRST)}
    columns = columns_of(table, record)
    return columns[first.get(table, len(columns)) :]
