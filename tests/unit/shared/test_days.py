"""Which days are kept."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.db.days import kept_since

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@given(st.integers(0, 4 * 366 * 86400), st.integers(100, 4000))
def test_whole_days_are_kept_whatever_the_hour_is(second: int, keep_days: int) -> None:
    now = NOW + timedelta(seconds=second)

    oldest = kept_since(now, keep_days)

    assert now - datetime.combine(oldest, datetime.min.time(), UTC) >= timedelta(days=keep_days)
    assert (now.date() - oldest).days == keep_days
