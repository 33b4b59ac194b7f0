"""What docs/reliability.md promises is proven by tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_the_page_names_exists(path: str, name: str) -> None:
    module = ast.parse((ROOT / path).read_text())
    defined = {one.name for one in ast.walk(module) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}

    assert name in defined


def test_the_page_has_every_fault_and_load_and_names_every_test_of_ours() -> None:
    tests = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^async def (test_[fl]\d\d_\w+)", path.read_text(), re.MULTILINE)
    }

    assert tests
    assert tests <= {name for _, name in NAMED}
    assert {f"F{number}" for number in range(1, 21)} <= set(re.findall(r"^\| (F\d+) \|", PAGE, re.MULTILINE))
    assert {f"L{number}" for number in range(1, 12)} <= set(re.findall(r"^\| (L\d+) \|", PAGE, re.MULTILINE))
