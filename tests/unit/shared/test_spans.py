"""Lengths of time as people say them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.spans import UNITS, in_one_unit, said


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "no time"), (1, "1 second"), (90, "1 minute 30 seconds"), (120, "2 minutes"), (3_600, "1 hour"),
        (5_400, "1 hour 30 minutes"), (259_200, "3 days"), (90_061, "1 day 1 hour 1 minute 1 second"),
    ],
)  # fmt: skip
def test_a_length_is_said_exactly(seconds: int, words: str) -> None:
    assert said(seconds) == words


@given(st.integers(1, 40 * 86_400))
def test_a_field_with_a_unit_holds_any_length_as_it_is(seconds: int) -> None:
    number, unit = in_one_unit(seconds)

    assert number * UNITS[unit] == seconds
    assert all(seconds % longer for longer in UNITS.values() if longer > UNITS[unit])
