"""Days of a zone: where they begin, and how long they are."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from shared.zones import begin_of, begins, day_in


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", date(2026, 3, 29), 24),
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),  # half an hour of summer
        ("Asia/Kolkata", date(2026, 10, 25), 24),
        ("Africa/Cairo", date(2026, 4, 24), 23),  # clocks leave midnight out
    ],
)
def test_a_day_is_as_long_as_it_is_there(zone: str, day: date, hours: float) -> None:
    first, last = begins(day, date.fromordinal(day.toordinal() + 1), ZoneInfo(zone))

    assert (last - first).total_seconds() / 3600 == hours
    assert day_in(ZoneInfo(zone), first) == day
    assert day_in(ZoneInfo(zone), last) != day


def test_a_day_of_half_hours_begins_at_its_own_midnight() -> None:
    assert begin_of(date(2026, 11, 25), ZoneInfo("Asia/Kolkata")) == datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
