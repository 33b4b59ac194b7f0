"""What differs between the SQL of two exports. Stated from the engines' documentation: none of them runs here."""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from shared.exports import Table
from shared.loaders.columns import TYPES, Columns, Dialect, added_since_first, columns_of
from shared.loaders.place import Export, manifests_at
from shared.loaders.text import backslashed, filled, sql, wrapped

AWS_ONLY: Final = ("athena", "redshift")

_GOOGLE: Final = "https://storage.googleapis.com"
Template = Callable[[str], str]
"""A text of `templates/` by its name."""


def fillings(engine: str, export: Export, month: str, alone: str | None, template: Template) -> dict[str, str]:
    """By the names of the gaps. `alone`: the month whose hours are loaded; None: all hours. `month`: the example."""
    match engine:
        case "athena":
            return _athena(export, month)
        case "snowflake":
            return _snowflake(export, alone, template)
        case "bigquery":
            return _bigquery(export, alone, template)
        case "redshift":
            return _redshift(export, alone)
        case "databricks":
            return _databricks(export, month, alone, template)
    raise AssertionError(f"{engine} has no statements")


def _defined(columns: Columns, dialect: Dialect, quote: str, indent: int = 2) -> str:
    return wrapped([f"{quote}{name}{quote} {TYPES[dialect][kind]}" for name, kind in columns], indent)


def _table(export: Export, table: Table, dialect: Dialect, *, quote: str = "", schema: str = "justai_export.") -> str:
    columns = columns_of(table, export.record)
    return f"CREATE TABLE IF NOT EXISTS {schema}{table} (\n{_defined(columns, dialect, quote)}\n)"


def _added(
    export: Export, table: Table, dialect: Dialect, *, quote: str = "", schema: str = "justai_export."
) -> list[str]:
    """For a table that was made when it had fewer columns."""
    return [
        f"ALTER TABLE {schema}{table} ADD COLUMN IF NOT EXISTS {quote}{name}{quote} {TYPES[dialect][kind]};"
        for name, kind in added_since_first(table, export.record)
    ]


def _names(export: Export) -> str:
    return ", ".join(sql(table) for table in export.tables)


def _s3(export: Export, key: str = "") -> str:
    return f"s3://{export.bucket}/{export.below}{key}"


# --- Athena ----------------------------------------------------------------------------------------------------------


def _athena(export: Export, month: str) -> dict[str, str]:
    day, after = f"{month}-01", f"{date.fromisoformat(f'{month}-01') + timedelta(days=1)}"
    year, number = month.split("-")
    days = monthrange(int(year), int(number))[1]
    if export.layout == "hive":
        month_hours = f"year = {year} AND month = {int(number)}"
        day_hours = f"{month_hours} AND day = 1"
    else:
        month_hours = f"datehour BETWEEN '{year}/{number}/01/00' AND '{year}/{number}/{days}/23'"
        day_hours = f"datehour BETWEEN '{year}/{number}/01/00' AND '{year}/{number}/01/23'"
    return {
        "tables": "\n".join(_athena_table(export, table) for table in export.tables),
        "manifests": sql(_s3(export, "_manifests/")),
        "month_hours": month_hours,
        "month_like": f"'{month}-%'",
        "columns": "\n" + _defined(columns_of("generations", export.record), "athena", "", 2) + "\n",
        "names": wrapped([name for name, _ in columns_of("generations", export.record)], 2),
        "day": f"'{day} 00:00 UTC'",
        "day_after": f"'{after} 00:00 UTC'",
        "day_hours": day_hours,
    }


def _athena_table(export: Export, table: Table) -> str:
    beside = "" if table == "generations" else f"_tables/{table}/"
    columns = _defined(columns_of(table, export.record), "athena", "`")
    made = (
        f"\nDROP TABLE IF EXISTS justai_export.{table};\nCREATE EXTERNAL TABLE justai_export.{table} (\n{columns}\n)\n"
    )
    where = f"STORED AS PARQUET\nLOCATION {sql(_s3(export, beside))}"
    if table == "variants":
        return f"{made}{where};"
    if export.layout == "hive":
        parts = {"year": "2024,2043", "month": "1,12", "day": "1,31", "hour": "0,23"}
        by = ", ".join(f"`{part}` int" for part in parts)
        said = []
        for part, span in parts.items():
            said += [(f"projection.{part}.type", "integer"), (f"projection.{part}.range", span)]
            if part != "year":
                said.append((f"projection.{part}.digits", "2"))
        folder = "/".join(f"{part}=${{{part}}}" for part in parts)
    else:
        by = "datehour string"
        said = [
            ("projection.datehour.type", "date"), ("projection.datehour.format", "yyyy/MM/dd/HH"),
            ("projection.datehour.range", "2024/01/01/00,NOW"), ("projection.datehour.interval", "1"),
            ("projection.datehour.interval.unit", "HOURS"),
        ]  # fmt: skip
        folder = "${datehour}"
    said = [("projection.enabled", "true"), *said, ("storage.location.template", _s3(export, f"{beside}{folder}/"))]
    properties = ",\n".join(f"  '{name}' = {sql(value)}" for name, value in said)
    return f"{made}PARTITIONED BY ({by})\n{where}\nTBLPROPERTIES (\n{properties}\n);"


# --- Snowflake -------------------------------------------------------------------------------------------------------


def _snowflake(export: Export, alone: str | None, template: Template) -> dict[str, str]:
    ddl = []
    for table in export.tables:
        ddl.append(f"{_table(export, table, 'snowflake', schema='')};")
        ddl += _added(export, table, "snowflake", schema="")
    staged = [
        filled(template("_snowflake_staged.sql"), {
            "folder": folder, "tables": _names(export),
            "after_prefix": str(len(export.below) + 1),  # COPY wants names from the stage on
        }).rstrip()
        for folder in manifests_at(export.tables, alone)
    ]  # fmt: skip
    place, host = _s3(export), (export.endpoint_url or "").partition("://")[2].rstrip("/")
    if host:
        place = place.replace("s3://", "s3compat://", 1)
    stage = filled(template(f"_snowflake_{'other' if host else 'aws'}.sql"), {"place": sql(place), "host": sql(host)})
    return {"stage": stage.rstrip(), "ddl": "\n".join(ddl), "manifests": "\n  UNION ALL\n  ".join(staged)}


# --- BigQuery --------------------------------------------------------------------------------------------------------


def _bigquery(export: Export, alone: str | None, template: Template) -> dict[str, str]:
    on_google = (export.endpoint_url or "").rstrip("/") == _GOOGLE
    bucket = f"{'gs' if on_google else 's3'}://{export.bucket}/"
    region = re.sub("[^A-Za-z0-9-]", "", export.region)  # inside of backticks nothing else can be said
    connection = "" if on_google else f"\nWITH CONNECTION `aws-{region}.justai`"
    ddl = []
    for table in export.tables:
        by_day = "" if table == "variants" else _BY_DAY
        ddl.append(f"{_table(export, table, 'bigquery', quote='`')}{by_day};")
        ddl += _added(export, table, "bigquery", quote="`")
    loads = [
        filled(template("_bigquery_load.sql"), {
            "table": table, "names": wrapped([f"`{name}`" for name, _ in columns_of(table, export.record)], 2),
            "connection": connection.replace("\n", "\n    "), "bucket": backslashed(bucket),
            "of_changed": _SOME_CHANGED if table == "variants" else _BIGQUERY_HOURS,
        }).rstrip()
        for table in export.tables
    ]  # fmt: skip
    uris = [
        backslashed(f"{bucket}{export.below}{place}{'*' if place.endswith('/') else ''}")
        for place in manifests_at(export.tables, alone)
    ]
    said = {"uris": ",\n".join(f"  {uri}" for uri in uris), "connection": connection}
    return {
        "way": "" if on_google else template("_bigquery_way.sql").rstrip(),
        "ddl": "\n".join(ddl),
        "manifests": filled(template("_bigquery_manifests.sql"), said).rstrip(),
        "loads": "\n".join(loads),
    }


_BY_DAY: Final = (
    "\nPARTITION BY RANGE_BUCKET(event_timestamp, GENERATE_ARRAY(1704067200, 2019427200, 86400))"  # 2024-2033
)
_SOME_CHANGED: Final = "EXISTS (SELECT 1 FROM justai_export.changed)"
_BIGQUERY_HOURS: Final = (
    "DIV(event_timestamp, 3600) IN (\n  SELECT DIV(UNIX_SECONDS(TIMESTAMP(hour)), 3600) FROM justai_export.changed\n)"
)


# --- Redshift --------------------------------------------------------------------------------------------------------


def _redshift(export: Export, alone: str | None) -> dict[str, str]:
    ddl = []
    for table in export.tables:
        ddl.append(f"{_table(export, table, 'redshift', quote=chr(34))};")
        if missing := added_since_first(table, export.record):
            # As comments: there is no ADD COLUMN IF NOT EXISTS.
            ddl.append("-- Where it was made when it had fewer columns, once for each that it lacks, in this order:")
            ddl += [
                f'-- ALTER TABLE justai_export.{table} ADD COLUMN "{name}" {TYPES["redshift"][kind]};'
                for name, kind in missing
            ]
    manifests = [
        f"COPY justai_export.manifests FROM {sql(_s3(export, place))}\n"
        "  IAM_ROLE 'arn:aws:iam::your-account:role/your-role' FORMAT AS JSON 'auto';"
        for place in manifests_at(export.tables, alone)
    ]
    return {
        "ddl": "\n".join(ddl),
        "manifests": "\n".join(manifests),
        "tables": _names(export),
        "bucket": sql(f"s3://{export.bucket}/"),
    }


# --- Databricks ------------------------------------------------------------------------------------------------------


def _databricks(export: Export, month: str, alone: str | None, template: Template) -> dict[str, str]:
    day, after = f"{month}-01", f"{date.fromisoformat(f'{month}-01') + timedelta(days=1)}"
    first = "day=01/" if export.layout == "hive" else "01/"
    ddl, loads = [], []
    for table in export.tables:
        columns = columns_of(table, export.record)
        ddl.append(f"{_table(export, table, 'spark', quote='`')};")
        if missing := added_since_first(table, export.record):
            added = "\n".join(f"--{line}" for line in _defined(missing, "spark", "`").splitlines())
            ddl.append(
                "-- Where it was made when it had fewer columns:\n"
                f"-- ALTER TABLE justai_export.{table} ADD COLUMNS (\n{added}\n-- );"
            )
        changed = filled(_SOME_CHANGED_THERE if table == "variants" else _DATABRICKS_HOURS, {"table": table})
        loads.append(filled(template("_databricks_load.sql"), {
            "table": table, "names": wrapped([f"`{name}`" for name, _ in columns], 2), "of_changed": changed,
            "below_folder": "[^/]+$" if table == "variants" else "[^/]+/[^/]+/[^/]+$",
            "schema": backslashed(", ".join(f"`{name}` {TYPES['spark'][kind]}" for name, kind in columns)),
        }).rstrip())  # fmt: skip
    manifests = [
        filled(template("_databricks_manifests.sql"), {
            "folder": backslashed(_s3(export, place)), "bucket": backslashed(f"s3://{export.bucket}/"),
            "tables": _names(export),
        }).rstrip()
        for place in manifests_at(export.tables, alone)
    ]  # fmt: skip
    return {
        "ddl": "\n".join(ddl),
        "manifests": "\n".join(manifests),
        "loads": "\n".join(loads),
        "day_utc": f"'{day} 00:00:00 UTC'",
        "day_after_utc": f"'{after} 00:00:00 UTC'",
        "day_place": backslashed(_s3(export, export.month_folder(month) + first)),
    }


_SOME_CHANGED_THERE: Final = "EXISTS (SELECT 1 FROM justai_export.changed WHERE table_name = '@@table@@')"
_DATABRICKS_HOURS: Final = (
    "event_timestamp DIV 3600 IN (\n"
    "  SELECT unix_timestamp(CAST(hour AS TIMESTAMP)) DIV 3600\n"
    "  FROM justai_export.changed WHERE table_name = '@@table@@'\n)"
)
