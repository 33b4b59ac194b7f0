"""When nothing new for a while is too long."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.source_silence import silent_since

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("quiet", "gaps", "usual_gap_s", "silent"),
    [
        (timedelta(hours=47), 30, DAY_S, False),
        (timedelta(hours=49), 30, DAY_S, True),
        (timedelta(hours=49), 2, DAY_S, False),  # nothing is usual yet
        (timedelta(minutes=59), 30, 60.0, False),  # files of one export
        (timedelta(minutes=61), 30, 60.0, True),
    ],
)
def test_silent_is_twice_the_usual_gap_but_an_hour_at_least(
    quiet: timedelta, gaps: int, usual_gap_s: float, silent: bool
) -> None:
    assert silent_since(NOW - quiet, gaps, usual_gap_s, NOW) == (NOW - quiet if silent else None)


def test_a_source_without_files_is_not_silent_but_new() -> None:
    assert silent_since(None, 0, None, NOW) is None
