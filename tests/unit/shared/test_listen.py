"""How far our clock is from another one, of which an answer tells that takes its time."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.db.listen import offset_s

BEFORE = datetime(2026, 11, 27, 10, tzinfo=UTC)
AFTER = BEFORE + timedelta(seconds=0.2)


@pytest.mark.parametrize(("told_s", "expected_s"), [(0.0, 0.0), (0.1, 0.0), (0.2, 0.0), (-3.0, 3.0), (3.2, -3.0)])
def test_what_the_answer_may_have_taken_is_no_offset(told_s: float, expected_s: float) -> None:
    told = BEFORE + timedelta(seconds=told_s)

    assert offset_s(BEFORE, told, AFTER) == pytest.approx(expected_s)
