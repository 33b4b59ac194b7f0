"""What single writes can carry, held against the limiter itself."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.profile_writer.quota.budget import Budget, Others
from services.profile_writer.quota.capacity import MARKS, can_wait, carried, excess
from services.profile_writer.quota.phase import Phase

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def budget(phase_s: float | None = 0.0, **others: float) -> Budget:
    phase = None if phase_s is None else Phase(phase_s, 1.0, NOW)
    return Budget(75, 750, 1.0, phase=phase, others=Others(**others)).at(NOW)  # type: ignore[arg-type]  # of its own fields


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_the_minute_is_spent_at_once_and_each_later_one_when_it_begins() -> None:
    within_first = carried(budget(30), NOW, after(25))
    with_second = carried(budget(30), NOW, after(55))
    assert 0.8 * 750 <= within_first <= 750
    assert 0.8 * 1500 <= with_second <= 1500


def test_five_minutes_carry_what_klaviyo_admits_in_them() -> None:
    assert 0.8 * 5 * 750 <= carried(budget(0.5), NOW, after(300)) <= 6 * 750


def test_nothing_is_carried_in_no_time() -> None:
    assert carried(budget(), NOW, after(1)) == 0
    assert carried(budget(), NOW, after(-60)) == 0


def test_what_other_apps_spend_is_not_counted_on() -> None:
    alone, beside = budget(30), budget(30, per_s=5.0)
    assert carried(beside, NOW, after(200)) <= carried(alone, NOW, after(200)) - 3 * 250


def test_an_account_of_unknown_phase_is_counted_on_for_less() -> None:
    assert carried(budget(None), NOW, after(120)) < carried(budget(30), NOW, after(120))


@given(st.floats(0, 59.9), st.floats(2, 600), st.floats(0, 300))
def test_more_time_never_carries_less(phase_s: float, seconds: float, more_s: float) -> None:
    one = budget(phase_s)
    assert carried(one, NOW, after(seconds)) <= carried(one, NOW, after(seconds + more_s))


def test_what_fits_has_no_excess() -> None:
    assert excess([(after(300), 3_100)], 0, budget(0.5), NOW, NOW, 2) is None


def test_the_excess_is_what_does_not_fit_and_by_when() -> None:
    found = excess([(after(300), 10_000)], 0, budget(0.5), NOW, NOW, 2)
    assert found is not None
    assert 10_000 - 6 * 750 <= found.rows <= 10_000 - 0.8 * 5 * 750
    assert found.until == after(300)


def test_an_early_rush_is_an_excess_even_when_the_rest_has_time() -> None:
    found = excess([(after(20), 2_000), (after(3_600), 10)], 0, budget(30), NOW, NOW, 2)
    assert found is not None
    assert found.until == after(20)
    assert found.rows >= 1_200


def test_nothing_is_carried_before_a_blocked_account_opens() -> None:
    due = [(after(100), 700)]
    assert excess(due, 0, budget(30), NOW, NOW, 2) is None
    assert excess(due, 0, budget(30), NOW, after(99), 2) is not None


def test_what_goes_first_leaves_less_for_the_rest() -> None:
    due = [(after(300), 2_000)]
    assert excess(due, 0, budget(0.5), NOW, NOW, 2) is None
    found = excess(due, 3_000, budget(0.5), NOW, NOW, 2)
    assert found is not None
    assert found.rows >= 500


def test_a_day_of_deadlines_is_counted_in_no_time() -> None:
    due = [(after(60 + 5.0 * number), 1) for number in range(20_000)]
    started = time.process_time()
    assert excess(due, 0, budget(0.5), NOW, NOW, 2) is None
    assert time.process_time() - started < 2


def at_marks(deadlines: Sequence[datetime]) -> list[datetime | None]:
    """What is read of a queue, as the database answers."""
    return [deadlines[mark] if mark < len(deadlines) else None for mark in MARKS]


def test_a_queue_with_hours_of_time_can_wait_and_one_with_minutes_cannot() -> None:
    people = 5_000
    assert can_wait(at_marks([after(7_200)] * people), budget(0.5), NOW, NOW, 2)
    assert not can_wait(at_marks([after(300)] * people), budget(0.5), NOW, NOW, 2)
    assert not can_wait(at_marks([after(60)] * 500 + [after(7_200)] * people), budget(0.5), NOW, NOW, 2)


def test_nobody_waits_behind_whom_nobody_can_count_to() -> None:
    assert not can_wait(at_marks([after(86_400)] * (MARKS[-1] + 1)), budget(0.5), NOW, NOW, 2)
    assert can_wait(at_marks([]), budget(0.5), NOW, NOW, 2)


@given(st.lists(st.floats(0, 7_200), max_size=400).map(sorted), st.floats(0, 59.9))
def test_who_can_wait_is_carried_by_half_of_all_requests(seconds: list[float], phase_s: float) -> None:
    deadlines, one = [after(value) for value in seconds], budget(phase_s)
    if can_wait(at_marks(deadlines), one, NOW, NOW, 2):
        assert excess([(deadline, 2) for deadline in deadlines], 0, one, NOW, NOW, 2) is None
