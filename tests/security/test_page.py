"""docs/security.md promises nothing that no test holds it to."""

import re
from pathlib import Path

from tests.support.named_tests import called_long, declared_in, named_in

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = named_in(PAGE)


def test_every_test_that_is_named_exists_and_is_called_long_where_it_is() -> None:
    assert len(NAMED) > 40
    for path, name in NAMED:
        assert name in declared_in(path), f"{path}::{name}"
        assert called_long(PAGE, path, name) is declared_in(path)[name], f"{path}::{name}"


def test_every_promise_names_a_test() -> None:
    table = PAGE.partition("## Promises")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 20
    for row in rows:
        assert "::test_" in row, row


def test_the_twelve_kinds_of_hostile_input_each_name_a_test() -> None:
    rows = re.findall(r"^\| (B\d+) \|(.*)$", PAGE, re.MULTILINE)

    assert [kind for kind, _ in rows] == [f"B{number}" for number in range(1, 13)]
    assert all("::test_" in said for _, said in rows)


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
