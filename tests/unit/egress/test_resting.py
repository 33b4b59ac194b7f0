"""When an org's exports rest, and for how long."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.egress.resting import Resting

ILL, WELL = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


def rests(resting: Resting, failures: int) -> list[float]:
    """The rest that follows each of so many failures, each tried when the rest before is over."""
    at, seen = NOW, []
    for _ in range(failures):
        rest = resting.failed(ILL, "s3_unreachable: away", at)
        seen.append(rest.wait_s if rest else 0.0)
        at += timedelta(seconds=seen[-1])
    return seen


def test_three_failures_in_a_row_bring_a_rest_that_doubles_up_to_a_quarter_of_an_hour() -> None:
    assert rests(Resting(), 9) == [0, 0, 60, 120, 240, 480, 900, 900, 900]


def test_a_rest_says_why_and_ends() -> None:
    resting = Resting()
    rests(resting, 2)
    resting.failed(ILL, "s3_503: busy", NOW)

    assert resting.rest(ILL, NOW + timedelta(seconds=59)).why == "s3_503: busy"  # type: ignore[union-attr]  # it rests
    assert resting.rest(ILL, NOW + timedelta(seconds=60)) is None
    assert resting.rest(WELL, NOW) is None


def test_an_answer_ends_all_trouble() -> None:
    resting = Resting()
    rests(resting, 7)

    resting.answered(ILL)

    assert resting.rest(ILL, NOW) is None
    assert rests(resting, 3) == [0, 0, 60]
