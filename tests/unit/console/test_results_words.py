"""Words of the page of results."""

import pytest

from services.console.pages.results.results import pace_of


@pytest.mark.parametrize(
    ("per_day", "said"),
    [(1_234.6, "1,235 a day"), (1.4, "1 a day"), (0.97, "fewer than one a day"), (1 / 14, "fewer than one a day")],
)
def test_a_template_that_sends_seldom_is_not_said_to_send_nothing(per_day: float, said: str) -> None:
    assert pace_of(per_day) == said
