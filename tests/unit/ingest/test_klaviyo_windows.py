"""Which windows of Klaviyo's events there are to be read, and what their names say."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.ingest.records import Changed
from services.ingest.sources.klaviyo_windows import Backfill, WindowTimes, list_windows, listed, window_of

TIMES = WindowTimes(window=timedelta(hours=6), overlap=timedelta(hours=2), late=timedelta(hours=24))
BEGAN = date(2026, 11, 22)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)


def names(now: datetime, *backfills: Backfill, began: date = BEGAN) -> list[str]:
    return [file.path for file in list_windows(began, backfills, TIMES, now).files]


def test_a_window_is_there_once_it_has_ended_and_again_after_the_overlap() -> None:
    assert names(at("22 06:00")) == []
    assert names(at("22 06:01")) == ["2026-11-22T00:00Z+360m"]
    assert names(at("22 08:00")) == ["2026-11-22T00:00Z+360m", "2026-11-22T00:00Z+360m again"]


def test_a_day_takes_the_place_of_its_windows_when_it_is_late_enough() -> None:
    before, after = names(at("23 23:59")), names(at("24 00:00"))

    assert before[:2] == ["2026-11-22T00:00Z+360m", "2026-11-22T00:00Z+360m again"]
    assert "2026-11-22 whole" not in before
    assert after[0] == "2026-11-22 whole"
    assert not any(name.startswith("2026-11-22T") for name in after)


def test_every_moment_since_the_beginning_lies_in_a_window_however_long_nobody_looked() -> None:
    now = at("22 00:00") + timedelta(days=40, hours=13)
    windows = [window_of(name) for name in names(now)]

    covered = at("22 00:00")
    for window in sorted(windows, key=lambda one: one.since):
        assert window.since <= covered
        covered = max(covered, window.until)

    assert now - covered < TIMES.window


def test_a_backfill_has_a_window_for_each_of_its_days_that_is_over() -> None:
    asked = Backfill(date(2026, 11, 20), date(2026, 11, 23), at("22 10:00"))

    found = names(at("22 10:05"), asked)

    assert found[:2] == ["2026-11-20 asked 2026-11-22T10:00:00Z", "2026-11-21 asked 2026-11-22T10:00:00Z"]
    assert "2026-11-22 asked 2026-11-22T10:00:00Z" not in found
    assert "2026-11-22 asked 2026-11-22T10:00:00Z" in names(at("23 00:00"), asked)


def test_what_is_asked_for_again_is_read_again() -> None:
    first = Backfill(date(2026, 11, 1), date(2026, 11, 3), at("22 10:00"))
    second = Backfill(date(2026, 11, 2), date(2026, 11, 4), at("22 11:00"))

    found = names(at("22 11:00"), first, second, began=date(2026, 11, 30))

    assert found == [
        "2026-11-01 asked 2026-11-22T10:00:00Z",
        "2026-11-02 asked 2026-11-22T11:00:00Z",
        "2026-11-03 asked 2026-11-22T11:00:00Z",
    ]


def test_a_name_says_which_time_it_is_and_the_same_at_every_look() -> None:
    window = window_of("2026-11-22T06:00Z+360m again")
    asked = window_of("2026-11-01 asked 2026-11-22T10:00:00Z")

    assert (window.since, window.until) == (at("22 06:00"), at("22 12:00"))
    assert (asked.since, asked.until, asked.from_at) == (at("01 00:00"), at("02 00:00"), at("22 10:00"))
    for name in names(at("24 13:00"), Backfill(date(2026, 11, 1), date(2026, 11, 3), at("22 10:00"))):
        assert listed(name) == listed(name)
        assert listed(name).size == 0


@pytest.mark.parametrize("name", ["", "a.csv", "2026-13-01 whole", "2026-11-22T00:00Z+0x", "2026-11-22 whole "])
def test_what_is_no_window_is_gone(name: str) -> None:
    with pytest.raises(Changed):
        window_of(name)
