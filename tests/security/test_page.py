"""docs/security.md promises nothing that no test holds it to."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", PAGE)


@cache
def declared_in(path: str) -> dict[str, bool]:
    """The tests of a file; whether each, or the whole file, is a long one."""
    source = (ROOT / path).read_text()
    all_long = "pytestmark" in source and "mark.long" in source.partition("pytestmark")[2].partition("\n")[0]
    tree = ast.parse(source)
    return {
        one.name: all_long or any(ast.unparse(mark) == "pytest.mark.long" for mark in one.decorator_list)
        for one in tree.body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_test_that_is_named_exists_and_is_called_long_where_it_is() -> None:
    assert len(NAMED) > 40
    for path, name in NAMED:
        assert name in declared_in(path), f"{path}::{name}"
        assert (f"*long* `{path}::{name}`" in PAGE) is declared_in(path)[name], f"{path}::{name}"


def test_every_promise_names_a_test() -> None:
    table = PAGE.partition("## Promises")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 20
    for row in rows:
        assert "::test_" in row, row


def test_the_items_of_asvs_are_those_that_tests_name() -> None:
    named = set[tuple[int, ...]]()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for said in re.findall(r"ASVS 5\.0([^\"]*)", path.read_text()):
            named |= {numbers(one) for one in re.findall(r"V(\d+\.\d+\.\d+)", said)}
            for first, last in re.findall(r"V(\d+\.\d+\.\d+) to V(\d+\.\d+\.\d+)", said):
                chapter, section, at = numbers(first)
                named |= {(chapter, section, item) for item in range(at, numbers(last)[2] + 1)}

    assert {numbers(one) for one in re.findall(r"V(\d+\.\d+\.\d+)", PAGE.partition("## ASVS")[2])} == named


def numbers(item: str) -> tuple[int, ...]:
    return tuple(map(int, item.split(".")))
