"""Tests that a page of the documentation names, as `path::name`: whether they exist, and which are long."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def named_in(page: str) -> list[tuple[str, str]]:
    """Path and name of each test that the page names."""
    return re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", page)


def called_long(page: str, path: str, name: str) -> bool:
    """Whether the page says of it that it is left to `make chaos`."""
    return f"*long* `{path}::{name}`" in page


@cache
def declared_in(path: str) -> dict[str, bool]:
    """The tests of a file; whether each, or the whole file, is a long one."""
    source = (ROOT / path).read_text()
    all_long = "pytestmark" in source and "mark.long" in source.partition("pytestmark")[2].partition("\n")[0]
    return {
        one.name: all_long or any(ast.unparse(mark) == "pytest.mark.long" for mark in one.decorator_list)
        for one in ast.parse(source).body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
