"""The UTC hours of a range."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.exports import HOUR, hours_between
from shared.schemas.jobs import hour_of

moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 5), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis wants naive bounds


@given(start=moments, end=moments)
def test_a_moment_is_in_the_range_exactly_when_its_hour_is_listed(start: datetime, end: datetime) -> None:
    hours = hours_between(start, end)

    assert hours == sorted(set(hours))
    assert all(hour == hour_of(hour) for hour in hours)
    if end > start:
        assert hours[0] == hour_of(start)
        assert hours[-1] < end <= hours[-1] + HOUR
    else:
        assert hours == []


def test_hours_are_utc_even_where_the_clock_is_off_by_half_an_hour() -> None:
    india = timezone(timedelta(hours=5, minutes=30))

    hours = hours_between(datetime(2026, 1, 1, 5, 30, tzinfo=india), datetime(2026, 1, 1, 7, 0, tzinfo=india))

    assert hours == [datetime(2026, 1, 1, 0, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)]


def test_a_range_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zones"):
        hours_between(datetime(2026, 1, 1), datetime(2026, 1, 2, tzinfo=UTC))  # noqa: DTZ001  # the point of the test
