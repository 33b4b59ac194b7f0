"""Pages that speak of tables forget none: who writes it, and for how long it keeps what of people."""

import re
from typing import Final

from shared.db.migrate import load
from tests.unit.docs.pages import ROOT, text_of

OF_PEOPLE: Final = {
    "user_id", "profile_id", "profile_ids", "transmission_id", "attrs", "vars", "raw", "lines", "email", "actor",
}  # fmt: skip
SUMS: Final = {"result_counts", "shown_counts", "rollups"}


def tables() -> dict[str, set[str]]:
    """Each table of the schema, with the columns that it was made with."""
    sql = "\n".join(migration.sql for migration in load())
    made = re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", sql, re.MULTILINE | re.DOTALL)
    return {name: set(re.findall(r"^ {4}([a-z_]+) ", columns, re.MULTILINE)) for name, columns in made}


def test_the_architecture_says_who_writes_each_table() -> None:
    written = text_of(ROOT / "docs/architecture.md").partition("## Who writes which table")[2].partition("\n## ")[0]

    assert len(tables()) > 60
    assert tables().keys() <= set(re.findall(r"[a-z_]+", written))


def test_the_page_about_privacy_says_how_long_each_table_keeps_what_of_people() -> None:
    kept = text_of(ROOT / "docs/privacy.md").partition("## How long")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)`", kept))

    of_people = {name for name, columns in tables().items() if columns & OF_PEOPLE} - SUMS
    assert len(of_people) > 15
    assert of_people <= named
    assert named <= tables().keys()
