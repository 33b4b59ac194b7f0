"""Recipes as texts. Those of engines that do not run here are kept whole, so that nobody changes them unaware:
`python -m tests.unit.loaders.test_recipes` writes them anew."""

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import duckdb
import pyarrow as pa
import pytest

from services.egress.tables import form_of
from shared.exports import Record, Table
from shared.loaders.columns import TYPES, added_since_first, columns_of
from shared.loaders.place import Export
from shared.loaders.recipe import ENGINES, Engine, recipe
from shared.loaders.text import filled
from tests.spark.exported import BEFORE, NAMES, write

GOLDEN = Path(__file__).parent / "golden"
PAGE = Export("acme", "records", "jai", "eu-west-1", None, ("generations",), "page", "plain")
WHOLE = replace(PAGE, prefix="", tables=("generations", "variants", "outcomes"), record="analyst", layout="hive")
EXPORTS = {"page": PAGE, "whole": WHOLE}
STATED: list[Engine] = [engine for engine, about in ENGINES.items() if not about.tested]
SCRIPTS: list[Engine] = [engine for engine, about in ENGINES.items() if about.tested]


def golden(engine: Engine, name: str) -> Path:
    return GOLDEN / f"{engine}_{name}.sql"


def printed(engine: Engine, name: str) -> str:
    """Of the page's record one month, of the whole export all hours."""
    return recipe(engine, EXPORTS[name], "2026-11", alone=name == "page").text


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("engine", STATED)
def test_statements_of_an_engine_that_does_not_run_here_are_those_that_were_read(engine: Engine, name: str) -> None:
    assert printed(engine, name) == golden(engine, name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("table", "record"),
    [("generations", "page"), ("generations", "analyst"), ("outcomes", "page"), ("variants", "page")],
)
def test_the_columns_are_those_of_the_files(table: Table, record: Record) -> None:
    kinds = {
        "text": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "double": pa.float64(), "bool": pa.bool_(),
        "moment": pa.timestamp("us", tz="UTC"), "day": pa.date32(),
    }  # fmt: skip

    fields = form_of(table, record).fields

    columns = columns_of(table, record)
    assert [name for name, _ in columns] == [name for name, _ in fields]
    for (name, kind), (_, type_) in zip(columns, fields, strict=True):
        assert kinds.get(kind, type_) == type_, name
        assert (kind in kinds) or name == kind, name
    assert all({kind for _, kind in columns} <= set(types) for types in TYPES.values())


def test_tables_of_earlier_files_get_the_columns_that_came_later() -> None:
    assert [name for name, _ in added_since_first("outcomes", "page")] == ["decision", "reason"]
    assert "ALTER TABLE justai_export.outcomes ADD COLUMN IF NOT EXISTS reason text;" in printed("postgres", "whole")


def test_every_engine_is_there_and_says_whether_we_run_it() -> None:
    assert tuple(ENGINES) == get_args(Engine)
    for engine, about in ENGINES.items():
        text = recipe(engine, WHOLE, "2026-11", alone=True).text
        assert ("STATED, NOT RUN HERE" in text) == (not about.tested)
        assert "2026-11" in text or "2026/11" in text or "month = 11" in text
        assert max(map(len, text.splitlines())) < 160 or engine == "databricks"  # its schema is one literal


@pytest.mark.parametrize("engine", SCRIPTS)
@pytest.mark.parametrize("folder", [None, "copy'\"\\ {x}\nimport csv #"])
def test_a_name_stays_a_text_in_a_script_whatever_it_holds(engine: Engine, folder: str | None) -> None:
    hostile = "b'\"\\{}\n__import__('os') #"
    export = replace(
        WHOLE, bucket=hostile, prefix="it's", folder=folder, endpoint_url=f"https://{hostile}", region=hostile
    )

    tree = ast.parse(recipe(engine, export, "2026-11").text)

    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "__import__" not in calls
    assert "csv" not in {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert any((folder or hostile) in text for text in texts)


@pytest.mark.parametrize("engine", STATED)
def test_a_name_stays_a_text_in_statements_whatever_it_holds(engine: Engine) -> None:
    export = replace(WHOLE, bucket="b'; DROP VIEW x; --", prefix="it's", region="`; DROP VIEW y")

    text = recipe(engine, export, "2026-11").text

    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    literals = re.compile(r"'(?:[^'\\]|\\.|'')*'")
    assert "DROP VIEW" in code
    assert "DROP VIEW" not in literals.sub("''", code.replace('"""', ""))


def test_engines_that_read_aws_alone_say_so_where_the_export_is_elsewhere() -> None:
    elsewhere = replace(PAGE, endpoint_url="https://s3.example.com")
    said = {engine for engine in STATED if "a server other than AWS" in recipe(engine, elsewhere, "2026-11").text}

    assert said == {"athena", "redshift"}
    assert "s3compat://records/jai/" in recipe("snowflake", elsewhere, "2026-11").text
    assert "ENDPOINT 's3.example.com', URL_STYLE 'path'" in recipe("duckdb", elsewhere, "2026-11").text
    assert "\"spark.hadoop.fs.s3a.endpoint\", 'https://s3.example.com'" in recipe("spark", elsewhere, "2026-11").text


def test_printed_anew_for_another_place_it_forgets_the_former_one() -> None:
    moved = replace(WHOLE, bucket="moved")
    athena, snowflake = recipe("athena", moved, "2026-11").text, recipe("snowflake", moved, "2026-11").text
    elsewhere = recipe("snowflake", replace(moved, endpoint_url="https://s3.example.com"), "2026-11").text

    made = re.findall(r"^CREATE EXTERNAL TABLE (.*) \($", athena, re.MULTILINE)
    dropped = re.findall(r"^DROP TABLE IF EXISTS (.*);\nCREATE EXTERNAL TABLE (.*) \($", athena, re.MULTILINE)
    assert made == [f"justai_export.{table}" for table in (*moved.tables, "manifests")]
    assert dropped == [(table, table) for table in made]
    assert "ALTER STORAGE INTEGRATION justai_s3 SET STORAGE_ALLOWED_LOCATIONS = ('s3://moved/');" in snowflake
    assert "CREATE OR REPLACE STAGE justai_export URL = 's3://moved/'" in snowflake
    assert "CREATE OR REPLACE STAGE justai_export URL = 's3compat://moved/'" in elsewhere


@pytest.mark.parametrize("engine", ["snowflake", "bigquery", "redshift", "databricks"])
def test_statements_look_at_all_hours_unless_a_month_was_asked_for(engine: Engine) -> None:
    hours, of_month = (recipe(engine, WHOLE, "2026-11", alone=alone).text for alone in (False, True))
    code = "\n".join(line for line in hours.splitlines() if not line.startswith("--"))

    assert len(re.findall("_manifests/", code)) == 1
    assert not re.search("2026|outcomes/|variants[.]json", code)
    assert {"_manifests/2026/11/", "_manifests/outcomes/2026/11/", "_manifests/variants.json"} <= set(
        re.findall("_manifests/[a-z0-9./]+", of_month)
    )
    assert "It looks at all hours there are" in hours
    assert "It looks at the hours of 2026-11 alone" in of_month


@pytest.mark.parametrize("engine", ["redshift", "databricks"])
def test_where_columns_cannot_be_added_unaware_it_says_how(engine: Engine) -> None:
    comments = [line for line in recipe(engine, WHOLE, "2026-11").text.splitlines() if line.startswith("--")]

    for name in ("event_time", "outcome_reason"):
        assert any(re.search(f'["`]{name}["`] ', line) for line in comments), name
    assert not any("ADD COLUMN" in line for line in recipe(engine, PAGE, "2026-11").text.splitlines())


def test_bigquery_reads_cloud_storage_without_a_connection() -> None:
    there = replace(PAGE, endpoint_url="https://storage.googleapis.com")

    text = recipe("bigquery", there, "2026-11", alone=True).text

    assert "gs://records/jai/_manifests/2026/11/*" in text
    assert "CONNECTION" not in text
    assert "WITH CONNECTION `aws-eu-west-1.justai`" in recipe("bigquery", PAGE, "2026-11").text


@pytest.mark.parametrize("layout", ["plain", "hive"])
def test_what_the_script_says_of_looking_without_loading_counts_the_month(tmp_path: Path, layout: str) -> None:
    export = replace(PAGE, prefix=NAMES, layout="hive" if layout == "hive" else "plain", folder=f"{tmp_path}/{NAMES}")
    write(tmp_path, BEFORE, 1, export.layout)

    text = recipe("duckdb", export, "2026-11").text
    (look,) = [line.removeprefix("#").strip() for line in text.splitlines() if "read_parquet('" in line]

    assert duckdb.execute(look).fetchone() == (39,)
    assert look.startswith("SELECT count(*) FROM read_parquet(")


def test_a_gap_that_nobody_fills_is_an_error_and_what_is_filled_in_is_left_alone() -> None:
    assert filled("a @@b@@ c", {"b": "@@c@@"}) == "a @@c@@ c"
    with pytest.raises(KeyError):
        filled("@@nobody@@", {})


if __name__ == "__main__":
    for one in STATED:
        for which in EXPORTS:
            golden(one, which).write_text(printed(one, which), encoding="utf-8")
