"""The documentation's site shows every page."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def pages(node: object) -> set[str]:
    if isinstance(node, str):
        return {node}
    values = node.values() if isinstance(node, dict) else node
    assert isinstance(values, list) or hasattr(values, "__iter__")
    return set().union(*(pages(value) for value in values))


def test_every_page_is_in_the_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]

    assert pages(nav) == {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
