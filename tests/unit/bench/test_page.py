"""The page of figures: whole, fresh, and honest about what was missed."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench import page, suite, words

ROOT = Path(__file__).parents[3]
MISSED: dict[str, Any] = {
    "form": "short", "arguments": ["--quick"], "at": "2026-11-26T09:00+00:00", "commit": "abc1234",
    "machine": "2 cores",
    "asked": {"ratio": ">= 0.85", "p95_ms": "< 50", "faults": "<= 0", "not_run": ">= 1"},
    "figures": {"ratio": 0.5, "p95_ms": 25.0, "faults": 0, "rows": 1234567},
}  # fmt: skip


def test_page_and_picture_are_those_of_what_was_measured_last() -> None:
    kept = page._kept()  # what the repository holds

    assert page.PAGE.read_text() == page.page(kept)
    assert page.PICTURE.read_text() == page.picture(kept)


def test_every_benchmark_that_make_knows_is_on_the_page_and_in_the_suite() -> None:
    targets = set(re.findall(r"^bench-([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) - {"full"}

    assert targets == set(page.ABOUT) == {one.name for one in suite.BENCHMARKS}
    assert sum(one.short_s for one in suite.BENCHMARKS) <= 45 * 60  # all of them at the end of their patience


def test_a_miss_stands_as_a_miss_in_words_and_in_the_picture() -> None:
    text, drawn = page.page({"gateway": MISSED}), page.picture({"gateway": MISSED})

    assert "| ratio | 0.5 | at least 0.85 | **missed** |" in text
    assert "| p95_ms | 25 | below 50 | met |" in text
    assert "| rows | 1,234,567 |  |  |" in text
    assert "not_run" not in text
    words = [one.text for one in ElementTree.fromstring(drawn).iter() if one.text]
    assert "0.5 (at least 0.85) missed" in words
    assert "25 (below 50)" in words


def test_figures_are_called_by_words_and_keep_their_names_where_they_have_none() -> None:
    kept = page._kept()

    assert words.named("gateway", "ratio_to_celery") == "times Celery's"
    assert words.named("gateway", "brand_new") == "brand_new"
    assert words.in_order("render", {"new": 1, "hostile_worst_ms": 2, "render_us_p50": 3})[:2] == [
        "render_us_p50", "hostile_worst_ms",
    ]  # fmt: skip
    assert {name: set(one["figures"]) - words.WORDS[name].keys() for name, one in kept.items()} == {
        name: set() for name in kept
    }


def test_what_nobody_measured_says_so() -> None:
    assert page.page({}).count("Not measured yet") == len(page.ABOUT)


def test_a_bar_is_as_long_as_its_share_of_what_is_asked() -> None:
    assert page.share(0.5, ">= 1") == 0.5
    assert page.share(25, "< 50") == 2.0
    assert page.share(0, "<= 0") == page.share(3, ">= 0") > 1
