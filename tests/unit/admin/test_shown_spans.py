"""Which counted spans a look back is made of."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.admin.outcomes.shown_spans import QUARTER, parts_of, span_start

START = datetime(2026, 11, 20, tzinfo=UTC)
QUARTERS = st.integers(0, 4 * 24 * 6)


def quarters_of(span: int, at: datetime) -> list[datetime]:
    return [at + number * QUARTER for number in range(span // 15)]


@given(QUARTERS, QUARTERS, st.sets(QUARTERS, max_size=30))
def test_every_quarter_is_read_once_counted_or_from_the_facts(first: int, last: int, live: set[int]) -> None:
    since, until = START + first * QUARTER, START + last * QUARTER

    parts = parts_of(since, until, {START + number * QUARTER for number in live})

    counted = [one for span, at in parts.kept for one in quarters_of(span, at)]
    facts = [START + number * QUARTER for number in range(first, last)
             if any(begins <= START + number * QUARTER < ends for begins, ends in parts.live)]  # fmt: skip
    assert sorted(counted + facts) == [START + number * QUARTER for number in range(first, last)]
    assert facts == [START + number * QUARTER for number in sorted(live) if first <= number < last]


def test_a_month_is_weeks_and_its_edge() -> None:
    since = datetime(2026, 11, 2, 4, 30, tzinfo=UTC)  # a Monday; weeks begin on Thursdays, as time does

    spans = [span for span, _ in parts_of(since, since.replace(day=26, hour=0, minute=0), set()).kept]

    assert [spans.count(one) for one in (15, 60, 180, 720, 1440, 10080)] == [2, 1, 2, 1, 2, 3]


def test_neighbours_that_are_read_from_the_facts_are_one_time() -> None:
    live = {START, START + QUARTER, START + 5 * QUARTER}

    parts = parts_of(START, START + timedelta(days=1), live)

    assert parts.live == [(START, START + 2 * QUARTER), (START + 5 * QUARTER, START + 6 * QUARTER)]


def test_a_span_begins_at_its_edge_in_utc() -> None:
    at = datetime(2026, 11, 25, 13, 44, 59, tzinfo=UTC)

    assert [span_start(at, one).strftime("%H:%M") for one in (QUARTER, timedelta(hours=3), timedelta(days=1))] == [
        "13:30", "12:00", "00:00",
    ]  # fmt: skip
