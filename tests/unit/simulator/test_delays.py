"""When a delay that lasts until a time of day is over."""

from datetime import UTC, datetime, time

import pytest

from simulator.flow.definitions import DelayUnit, FlowAction

AT_NIGHT = datetime(2026, 11, 23, 23, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("unit", "value", "until", "over"),
    [
        ("days", 1, time(9), datetime(2026, 11, 24, 9, tzinfo=UTC)),  # the calendar's day, not 24 hours
        ("days", 2, time(23, 59), datetime(2026, 11, 25, 23, 59, tzinfo=UTC)),
        ("days", 0, time(9), datetime(2026, 11, 24, 9, tzinfo=UTC)),
        ("days", 0, time(23, 55), datetime(2026, 11, 23, 23, 55, tzinfo=UTC)),
        ("hours", 24, time(9), datetime(2026, 11, 25, 9, tzinfo=UTC)),
    ],
)
def test_days_until_a_time_of_day_are_the_calendars(unit: DelayUnit, value: int, until: time, over: datetime) -> None:
    delay = FlowAction(
        "A", "F", "time-delay", "live", AT_NIGHT, AT_NIGHT, delay_unit=unit, delay_value=value, until_time=until
    )

    assert delay.over_at(AT_NIGHT) == over
