"""A recipe of one engine for one org's export: a script or statements to run as they are. Pure; it holds no secret.

Every recipe remembers which revision of each hour it loaded, asks the manifests what was written since, deletes those
hours' rows and loads their objects. Texts lie in `templates/`, one an engine; `@@name@@` in them is filled in here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from shared.loaders import scripts, statements
from shared.loaders.place import Export
from shared.loaders.text import filled

Engine = Literal[
    "duckdb", "spark", "pyarrow", "polars", "postgres", "athena", "snowflake", "bigquery", "redshift", "databricks"
]

_FOLDER = Path(__file__).parent / "templates"
_MANY_EMPTY = re.compile("\n{4,}")


@dataclass(frozen=True, slots=True)
class About:
    """`tested`: our tests run what is printed. The others are stated from their engines' documentation."""

    title: str
    tested: bool
    language: Literal["python", "sql"]


ENGINES: Final[Mapping[Engine, About]] = {
    "duckdb": About("DuckDB", True, "python"),
    "spark": About("Spark", True, "python"),
    "pyarrow": About("pyarrow", True, "python"),
    "polars": About("Polars", True, "python"),
    "postgres": About("PostgreSQL", True, "python"),
    "athena": About("Athena", False, "sql"),
    "snowflake": About("Snowflake", False, "sql"),
    "bigquery": About("BigQuery", False, "sql"),
    "redshift": About("Redshift", False, "sql"),
    "databricks": About("Databricks", False, "sql"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """`file_name`: under which its first lines name it."""

    engine: Engine
    about: About
    file_name: str
    text: str


def recipe(engine: Engine, export: Export, month: str, *, alone: bool = False) -> Recipe:
    """`month`: like `2026-11`, the example. `alone`: statements load that month only; scripts are told when run."""
    about = ENGINES[engine]
    file_name = f"load_{engine}.{'py' if about.language == 'python' else 'sql'}"
    only = month if alone else None
    if about.language == "python":
        known = scripts.fillings(engine, export, month, _template)
    else:
        known = statements.fillings(engine, export, month, only, _template)
    known["head"] = _head(engine, about, export, only)
    text = filled(_template(file_name.removeprefix("load_")), known)
    return Recipe(engine, about, file_name, _MANY_EMPTY.sub("\n\n\n", text).rstrip() + "\n")


def _head(engine: Engine, about: About, export: Export, alone: str | None) -> str:
    mark = "#" if about.language == "python" else "--"
    lines = [
        f"The export of {export.org_slug} ({export.said}) in {about.title}, by `justai export loader`.",
        "Print it anew when the export's place, record, folders or tables change.",
    ]
    if engine != "athena":
        lines += [
            "It remembers which revision of each hour was loaded, deletes what was written anew since, and loads that:",
            "run it as often as you like.",
        ]
    if about.language == "sql" and engine != "athena":
        lines += _which_hours(alone)
    if not about.tested:
        lines.append("STATED, NOT RUN HERE: made from the engine's documentation. Try it beside your own tables first.")
    if engine in statements.AWS_ONLY and export.endpoint_url:
        lines.append(
            f"The export goes to a server other than AWS, which {about.title} cannot read: copy it to AWS first."
        )
    return "\n".join(f"{mark} {line}" for line in lines)


def _which_hours(alone: str | None) -> list[str]:
    if alone is None:
        return ["It looks at all hours there are: an overwrite may reach any of them."]
    return [
        f"It looks at the hours of {alone} alone, for ever. What is exported or overwritten in another month, deleted",
        "persons too, does not arrive: print it without --month for what is run by the clock.",
    ]


@cache
def _template(name: str) -> str:
    return (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
