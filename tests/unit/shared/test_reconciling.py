"""The likely cause of a difference between our count and Klaviyo's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from shared.reconciling import MEANINGS, Cause, Compared, Files, cause_of

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
SINCE, UNTIL = NOW - timedelta(days=8), NOW - timedelta(hours=10)
WELL = Files(now=NOW, sources=1, first_at=SINCE - timedelta(days=30), newest_at=NOW - timedelta(minutes=20))
LESS = Compared("sent", "delivered", ours=800, theirs=1000, since=SINCE, until=UNTIL)
MORE = replace(LESS, ours=1200)


def test_two_events_and_one_percent_are_nothing() -> None:
    for ours, theirs in ((0, 2), (1000, 1000), (1000, 991), (99_500, 100_000)):
        assert cause_of(replace(LESS, ours=ours, theirs=theirs), WELL) == "agrees"
    for ours, theirs in ((0, 3), (1000, 980), (98_000, 100_000)):
        assert cause_of(replace(LESS, ours=ours, theirs=theirs), WELL) != "agrees"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"sources": 0}, "no_source"),
        ({"held_files": 3, "unknown_layouts": 1}, "unknown_layout"),
        ({"held_files": 3, "silent_sources": 1}, "files_held"),
        ({"troubled_sources": 1, "silent_sources": 1}, "source_trouble"),
        ({"silent_sources": 1}, "source_silent"),
        ({"first_at": SINCE + timedelta(days=3)}, "before_first_file"),
        ({"first_at": None, "newest_at": None}, "file_late"),
        ({"newest_at": UNTIL - timedelta(hours=5)}, "file_late"),
        ({"waiting_files": 1}, "file_late"),
        ({}, "unexplained"),
    ],
)
def test_what_we_lack_is_sought_among_the_files_first(changes: dict[str, Any], cause: str) -> None:
    assert cause_of(LESS, replace(WELL, **changes)) == cause


@pytest.mark.parametrize(
    ("compared", "cause"),
    [
        (replace(LESS, edge_share=0.3), "time_zone"),
        (replace(LESS, edge_share=0.05), "unexplained"),
        (replace(LESS, basis="happened", edge_share=0.3), "unexplained"),
        (replace(LESS, measure="opens", people=800), "machines_counted"),
        (replace(LESS, measure="opens", people=500), "unexplained"),
        (replace(LESS, measure="clicks", people=700), "links_left_out"),
        (replace(LESS, measure="clicks", people=700, basis="happened"), "unexplained"),
        (replace(LESS, measure="conversions"), "attribution_differs"),
        (replace(MORE, measure="opens", people=1001), "klaviyo_leaves_machines_out"),
        (replace(MORE, measure="opens", people=600), "unexplained"),
        (replace(MORE, measure="conversions"), "attribution_differs"),
        (replace(MORE, edge_share=0.3), "time_zone"),
        (replace(MORE, until=NOW - timedelta(hours=1)), "klaviyo_late"),
        (MORE, "unexplained"),
    ],
)
def test_where_all_files_are_there_the_way_of_counting_is_the_cause(compared: Compared, cause: str) -> None:
    assert cause_of(compared, WELL) == cause


def test_every_cause_says_what_it_means() -> None:
    assert set(MEANINGS) == set(get_args(Cause))
    assert all(title and advice.endswith(".") for title, advice in MEANINGS.values())
