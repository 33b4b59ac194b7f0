"""What differs between the Python scripts of two exports."""

from collections.abc import Callable
from textwrap import dedent

from shared.loaders.columns import TYPES, Dialect, added_since_first, columns_of
from shared.loaders.place import Export
from shared.loaders.text import filled, one_line, sql, wrapped


def fillings(engine: str, export: Export, month: str, template: Callable[[str], str]) -> dict[str, str]:
    """By the names of the gaps."""
    place = {"place": _place(export), "prefix": repr(export.below), "tables": repr(list(export.tables))}
    place["temporary"] = "dir=FOLDER" if engine in ("pyarrow", "polars") else ""
    known = {
        "manifests": filled(template("_manifests.py"), place).rstrip(),
        "folder": template("_folder.py").rstrip(),
        "foot": _look(engine, export, month, template),
        "columns": _columns(export),
        "prefix": place["prefix"],
        "month": month,
    }
    match engine:
        case "duckdb" | "postgres":
            dialect: Dialect = "duckdb" if engine == "duckdb" else "postgres"
            known |= {"ddl": _ddl(export, dialect), "indexes": _indexes(export)}
        case "spark":
            known |= _spark(export, month, template)
    return known


def _place(export: Export) -> str:
    """The export as a file system of pyarrow, beginning below the prefix."""
    if export.folder is not None:
        return f"EXPORT = fs.SubTreeFileSystem(str(Path({export.folder!r}).absolute()), fs.LocalFileSystem())"
    options = [f"region={export.region!r}"]
    if export.endpoint_url:
        options.append(f"endpoint_override={export.endpoint_url!r}")
    where = f"{export.bucket}/{export.prefix}".rstrip("/")
    return dedent(f"""\
        # Your own way into the bucket: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or this machine's role.
        EXPORT = fs.SubTreeFileSystem({where!r}, fs.S3FileSystem({", ".join(options)}))""")


def _ddl(export: Export, dialect: Dialect) -> str:
    """The tables, and the columns that tables of an earlier record lack."""
    lines = ["CREATE SCHEMA IF NOT EXISTS justai_export;"]
    for table in export.tables:
        types = TYPES[dialect]
        defined = [f"{name} {types[kind]}" for name, kind in columns_of(table, export.record)]
        lines.append(f"CREATE TABLE IF NOT EXISTS justai_export.{table} (\n{wrapped(defined)}\n);")
        for name, kind in added_since_first(table, export.record):
            lines.append(f"ALTER TABLE justai_export.{table} ADD COLUMN IF NOT EXISTS {name} {types[kind]};")
    return "\n".join(lines)


def _indexes(export: Export) -> str:
    """An hour is deleted by its seconds."""
    return "\n".join(
        f"CREATE INDEX IF NOT EXISTS {table}_event_timestamp ON justai_export.{table} (event_timestamp);"
        for table in export.tables
        if table != "variants"
    )


def _columns(export: Export) -> str:
    """Names of columns by table, as Python says them."""
    lines = []
    for table in export.tables:
        names = [repr(name).replace("'", '"') for name, _ in columns_of(table, export.record)]
        lines.append(f'    "{table}": [\n{wrapped(names, 8)},\n    ],')
    return "\n".join(["{", *lines, "}"])


def _look(engine: str, export: Export, month: str, template: Callable[[str], str]) -> str:
    """Reading without loading, where that is worth a word."""
    if engine != "duckdb":
        return ""
    pattern, httpfs = f"{export.month_folder(month)}*/*/part-000.parquet", ""
    if export.folder is not None:
        place = f"{export.folder.rstrip('/')}/{pattern}"
    else:
        place = f"s3://{export.bucket}/{export.below}{pattern}"
        known = {"region": one_line(sql(export.region)), "endpoint": one_line(_endpoint(export))}
        httpfs = filled(template("_duckdb_httpfs.py"), known).rstrip()
    return filled(template("_duckdb_look.py"), {"place": one_line(sql(place)), "httpfs": httpfs}).rstrip()


def _endpoint(export: Export) -> str:
    if not export.endpoint_url:
        return ""
    scheme, _, host = export.endpoint_url.partition("://")
    secure = "" if scheme == "https" else ", USE_SSL false"
    return f", ENDPOINT {sql(host.rstrip('/'))}, URL_STYLE 'path'{secure}"


def _spark(export: Export, month: str, template: Callable[[str], str]) -> dict[str, str]:
    schemas = []
    for table in export.tables:
        defined = [f'"{name} {TYPES["spark"][kind]}"' for name, kind in columns_of(table, export.record)]
        schemas.append(f'    "{table}": [\n{wrapped(defined, 8)},\n    ],')
    columns = "\n".join(["{", *schemas, "}"])
    how = filled(template(f"_spark_{'s3' if export.folder is None else 'folder'}.py"), {"month": month}).rstrip()
    if export.folder is not None:
        return {
            "how": how, "columns": columns, "way": "", "imports": "from pathlib import Path",
            # No as_uri(): Hadoop takes %27 for a name.
            "export": f'"file://" + str(Path({export.folder!r}).absolute())',
            "warehouse": '"justai"  # a folder of your own',
        }  # fmt: skip
    options = {"endpoint.region": export.region}
    if export.endpoint_url:
        options |= {"endpoint": export.endpoint_url, "path.style.access": "true"}
    return {
        "how": how, "columns": columns, "imports": "",
        "way": "".join(f'\n    .config("spark.hadoop.fs.s3a.{name}", {value!r})' for name, value in options.items()),
        "export": repr(f"s3a://{export.bucket}/{export.prefix}".rstrip("/")),
        "warehouse": '"s3a://your-bucket/justai"  # a place of your own, or a folder',
    }  # fmt: skip
