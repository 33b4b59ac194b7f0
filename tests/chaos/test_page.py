"""What docs/reliability.md promises is proven by tests that exist."""

import re
from itertools import chain
from pathlib import Path

from tests.chaos.test_failpoints import known
from tests.support.named_tests import called_long, declared_in, named_in

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
NAMED = named_in(PAGE)


def test_every_test_that_the_page_names_exists_and_is_called_long_where_it_is() -> None:
    for path, name in NAMED:
        assert name in declared_in(path), f"{path}::{name}"
        assert called_long(PAGE, path, name) is declared_in(path)[name], f"{path}::{name}"


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


def test_the_page_counts_the_places_as_sites_yaml_lists_them() -> None:
    count = {kind: len(list(chain(*by.values()))) for kind, by in known().items()}
    elsewhere = next(len(sites) for why, sites in known()["unreached"].items() if "test_crashes.py" in why)
    rows = re.findall(r"\| (\d+)(?: more)? \| `tests/\w+/(?:\w+/)?(\w+)\.py` \|", PAGE)
    left = re.search(r"(\d+) places are not driven", PAGE)

    assert {name: int(places) for places, name in rows} == {
        "test_failpoints": count["reached"],
        "test_failpoints_imports": count["by_import"] + count["by_import_trouble"],
        "test_failpoints_troubles": count["by_trouble"],
        "test_failpoints_parts": count["by_part"],
        "test_failpoints_commands": count["by_command"],
        "test_crashes": elsewhere,
    }
    assert left is not None
    assert int(left[1]) == count["unreached"] - elsewhere
